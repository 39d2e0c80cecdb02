"""Reads large files while all else goes on: what is to be done with them depends on their content.

A look that waits for that would hold up every save meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

import trio

from kled_sync.decide.modes import SyncSide
from kled_sync.session.pacing import Pacing
from kled_sync.session.sides.side import Sides

# One on each side, mostly.
_AT_ONCE: Final = 2


class LargeReads:
    """Files that are read; they are in flight meanwhile, so that nothing else is done with them."""

    def __init__(
        self,
        sides: Sides,
        in_flight: set[bytes],
        pacing: Pacing,
        ended: Callable[[bytes], None],
    ) -> None:
        """`ended` is called with the path of each."""
        self._sides, self._in_flight = sides, in_flight
        self._pacing, self._ended = pacing, ended
        self._limiter = trio.CapacityLimiter(_AT_ONCE)

    def begin(self, nursery: trio.Nursery, unread: Mapping[SyncSide, Iterable[bytes]]) -> int:
        """Begin with those of `unread` that need not wait; how many these are."""
        now, begun = trio.current_time(), 0
        for side, paths in unread.items():
            for path in set(paths) - self._in_flight:
                if not self._pacing.waits(path, self._sides[side].tree.get(path), now):
                    begun += 1
                    self._in_flight.add(path)
                    nursery.start_soon(self._read, side, path)
        return begun

    async def _read(self, side: SyncSide, path: bytes) -> None:
        try:
            async with self._limiter:
                began = trio.current_time()
                await self._sides[side].hash([path])
                now = trio.current_time()
            self._pacing.passed([path], began, now, self._sides[side].tree.get(path))
        finally:
            self._in_flight.discard(path)
            self._ended(path)
