"""Joins two transports in a relay process; this process moves none of their bytes afterwards.

Where a side is TLS or a WebSocket, an offload process gives a socket with the plain bytes.
"""

from __future__ import annotations

import trio

from kled_coord.offload.stream import plain_socket, unwrap
from kled_coord.relay.splice.bandwidth import Share
from kled_coord.relay.splice.pool import RelayPool
from kled_coord.relay.splice.process import Terms
from kled_coord.relay.splice.traffic import Traffic


class Joiner:
    """Joins streams within limits (seconds, 0 for none)."""

    def __init__(self, relay: RelayPool, *, idle_s: float = 0, absolute_s: float = 0) -> None:
        self._relay = relay
        self._idle_s = idle_s
        self._absolute_s = absolute_s

    async def join(
        self,
        client: trio.abc.HalfCloseableStream,
        agent: trio.abc.HalfCloseableStream,
        traffic: Traffic,
        shares: tuple[Share, ...] = (),
    ) -> str:
        """Carry bytes and half-closes both ways to the end of both, no faster than `shares`.

        Returns why it ended: "closed", "broken", "idle_limit", "absolute_limit", "stopped".
        Raises trio.BrokenResourceError when one broke before they were joined, and
        UnavailableError("relay_restarting").
        """
        to_client, to_agent = plain_socket(client), plain_socket(agent)
        if ahead := await unwrap(client):
            await to_agent.send_all(ahead)
            traffic.count(to_agent=len(ahead))
        if ahead := await unwrap(agent):
            await to_client.send_all(ahead)
            traffic.count(to_client=len(ahead))
        terms = Terms(idle_s=self._idle_s, absolute_s=self._absolute_s, shares=shares)
        return await self._relay.join(to_client, to_agent, traffic, terms)
