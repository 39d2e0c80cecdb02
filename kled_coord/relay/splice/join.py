"""Two streams become one: in a relay process, and never in this one again.

Where a side is TLS or a WebSocket, an offload process gives a socket with the plain bytes.
Systems without splice(2) and epoll have neither kind of process, and copy here.
"""

from __future__ import annotations

import math

import trio

from kled_coord.offload.stream import plain_socket, unwrap
from kled_coord.relay.splice.bandwidth import Share
from kled_coord.relay.splice.paced import Pacer
from kled_coord.relay.splice.pool import RelayPool
from kled_coord.relay.splice.process import Terms
from kled_coord.relay.splice.traffic import Traffic
from kled_wire.transport.pump import pump


class Joiner:
    """Joins streams within limits (seconds, 0 for none); `relay` is None where it cannot be."""

    def __init__(
        self, relay: RelayPool | None, *, idle_s: float = 0, absolute_s: float = 0
    ) -> None:
        self._relay = relay
        self._idle_s = idle_s
        self._absolute_s = absolute_s
        self._pacer = Pacer()
        self._copying = 0
        self._none_copied = trio.Event()

    async def drain(self) -> None:
        """Wait for the streams that are copied here; a relay process lives on by itself."""
        while self._copying:
            self._none_copied = trio.Event()
            await self._none_copied.wait()

    async def join(
        self,
        client: trio.abc.HalfCloseableStream,
        agent: trio.abc.HalfCloseableStream,
        traffic: Traffic,
        shares: tuple[Share, ...] = (),
    ) -> str:
        """Carry bytes and half-closes both ways to the end of both, no faster than `shares`.

        Returns why it ended: "closed", "broken", "idle_limit", "absolute_limit", "stopped".
        Raises trio.BrokenResourceError when one broke before they were joined.
        """
        if self._relay is not None:
            to_client, to_agent = plain_socket(client), plain_socket(agent)
            if to_client is not None and to_agent is not None:
                if ahead := await unwrap(client):
                    await to_agent.send_all(ahead)
                    traffic.count(to_agent=len(ahead))
                if ahead := await unwrap(agent):
                    await to_client.send_all(ahead)
                    traffic.count(to_client=len(ahead))
                terms = Terms(idle_s=self._idle_s, absolute_s=self._absolute_s, shares=shares)
                return await self._relay.join(to_client, to_agent, traffic, terms)
        self._copying += 1
        try:
            with self._pacer.paced(client, agent, shares) as (paced_client, paced_agent):
                return await self._copy(paced_client, paced_agent, traffic)
        finally:
            self._copying -= 1
            if not self._copying:
                self._none_copied.set()

    async def _copy(
        self,
        client: trio.abc.HalfCloseableStream,
        agent: trio.abc.HalfCloseableStream,
        traffic: Traffic,
    ) -> str:
        ended = ""
        with trio.move_on_after(self._absolute_s or math.inf) as absolute:
            async with trio.open_nursery() as nursery:
                if self._idle_s:
                    nursery.start_soon(self._watch_idle, traffic, nursery.cancel_scope)
                try:
                    await pump(
                        client,
                        agent,
                        count_right=lambda n: traffic.count(to_agent=n),
                        count_left=lambda n: traffic.count(to_client=n),
                    )
                    ended = "closed"
                except trio.BrokenResourceError:
                    ended = "broken"
                nursery.cancel_scope.cancel()
        if ended:
            return ended
        return "absolute_limit" if absolute.cancelled_caught else "idle_limit"

    async def _watch_idle(self, traffic: Traffic, scope: trio.CancelScope) -> None:
        before = -1
        while (now := traffic.to_agent + traffic.to_client) != before:
            before = now
            await trio.sleep(self._idle_s)
        scope.cancel()
