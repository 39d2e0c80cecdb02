"""How often a task that moves data in bulk lets the others run."""

from __future__ import annotations

from typing import Final

import trio

# A round of Trio's loop, with the caches full of what was moved, costs as much as moving 64 KiB
# over loopback. A megabyte takes a quarter of a millisecond there; on a slower way the task waits
# for the way, which lets the others run by itself.
TURN_BYTES: Final = 1024 * 1024
# What is smaller than this is not bulk: whoever moves it lets the others run each time.
BULK_BYTES: Final = 64 * 1024


class Turns:
    """For one task: tell `moved`, and await `checkpoint` where Trio wants one."""

    def __init__(self) -> None:
        self._moved = TURN_BYTES

    def moved(self, count: int) -> None:
        """So many bytes were moved at once."""
        self._moved += count if count >= BULK_BYTES else TURN_BYTES

    async def checkpoint(self) -> None:
        """Always a point to be cancelled at; the others run when this turn is over."""
        if self._moved < TURN_BYTES:
            await trio.lowlevel.checkpoint_if_cancelled()
        else:
            self._moved = 0
            await trio.lowlevel.checkpoint()
