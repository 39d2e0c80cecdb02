"""Two streams become one: in a relay process where both are plain sockets, else copied here.

TLS that ends at the coordinator, WebSocket carriers and systems without splice(2) and epoll are
copied; everything else never enters this process again.
"""

from __future__ import annotations

import math
import os
import select
from collections.abc import Callable
from typing import Final

import trio

from kled_coord.relay.bandwidth import Share
from kled_coord.relay.paced import Pacer
from kled_coord.relay.pool import RelayPool
from kled_coord.relay.process import Terms
from kled_coord.relay.traffic import Traffic
from kled_wire.transport.prefixed import PrefixedStream
from kled_wire.transport.pump import pump

CAN_SPLICE: Final = hasattr(os, "splice") and hasattr(select, "epoll")


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
        to_agent = await _bare(client, agent, lambda n: traffic.count(to_agent=n))
        to_client = await _bare(agent, client, lambda n: traffic.count(to_client=n))
        if self._relay is not None and to_agent is not None and to_client is not None:
            terms = Terms(idle_s=self._idle_s, absolute_s=self._absolute_s, shares=shares)
            return await self._relay.join(to_agent, to_client, traffic, terms)
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


async def _bare(
    stream: trio.abc.HalfCloseableStream,
    other: trio.abc.HalfCloseableStream,
    count: Callable[[int], None],
) -> trio.SocketStream | None:
    """The socket below `stream`, once what was read ahead of it has been passed on."""
    inner: object = stream
    if isinstance(stream, PrefixedStream):
        inner = stream.transport_stream
        if isinstance(inner, trio.SocketStream) and (ahead := stream.take_prefix()):
            await other.send_all(ahead)
            count(len(ahead))
    return inner if isinstance(inner, trio.SocketStream) else None
