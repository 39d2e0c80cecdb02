"""How long a stream may last: without bytes, and in all."""

from __future__ import annotations

import math
from dataclasses import dataclass

import trio

from kled_coord.relay.join import Traffic, join


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifetime:
    """Limits in seconds; 0 means none."""

    idle_s: float = 0
    absolute_s: float = 0

    async def run(
        self,
        client: trio.abc.HalfCloseableStream,
        agent: trio.abc.HalfCloseableStream,
        traffic: Traffic,
    ) -> str:
        """Join the two; returns why it ended: "closed", "idle_limit" or "absolute_limit".

        Raises trio.BrokenResourceError.
        """
        joined = False
        with trio.move_on_after(self.absolute_s or math.inf) as absolute:
            async with trio.open_nursery() as nursery:
                if self.idle_s:
                    nursery.start_soon(self._watch_idle, traffic, nursery.cancel_scope)
                await join(client, agent, traffic)
                joined = True
                nursery.cancel_scope.cancel()
        if joined:
            return "closed"
        return "absolute_limit" if absolute.cancelled_caught else "idle_limit"

    async def _watch_idle(self, traffic: Traffic, scope: trio.CancelScope) -> None:
        before = -1
        while (now := traffic.to_agent + traffic.to_client) != before:
            before = now
            await trio.sleep(self.idle_s)
        scope.cancel()
