"""Scheduling of tasks that move bulk data: a typing priority and a yield budget.

`TypingPriority`: a block is worked on without a break, so a keystroke waits for it twice, on the
way in and for the echo. While somebody types, blocks are therefore small, and after each of them
the other tasks and, on a busy machine, the other processes (the shell that is to echo) run first.

`YieldBudget`: how many bytes a task moves before it lets the other tasks run.
"""

from __future__ import annotations

import math
import os
from typing import Final

import trio

# Large blocks are what makes a Python SSH server fast: this is for when nobody types.
BLOCK_BYTES: Final = 256 * 1024
# Less than 0.1 ms of encryption, and still half of the speed.
SMALL_BLOCK_BYTES: Final = 32 * 1024
# The most that a terminal writes at once as an echo; a flood comes in larger pieces.
TYPED_BYTES: Final = 1024
# Somebody who has paused for so long can wait once for a large block.
TYPING_S: Final = 2.0

# A round of Trio's loop, with the caches full of what was moved, costs as much as moving 64 KiB
# over loopback. A megabyte takes a quarter of a millisecond there; on a slower path the task waits
# for the path, which lets the others run by itself.
YIELD_BYTES: Final = 1024 * 1024
# A smaller block is not bulk: after it the others run each time.
BULK_BYTES: Final = 64 * 1024

# Not everywhere that Python runs; the agent's Linux has it.
_CAN_YIELD: Final = hasattr(os, "sched_yield")


class TypingPriority:
    """Gives typing priority over bulk; one object serves all streams of a process."""

    def __init__(self) -> None:
        self._typed_at = -math.inf
        # Looked at for each block, so that a keystroke does not pay for the clock: it is only
        # after large blocks that the time is up.
        self._typing = False

    def terminal_wrote(self, count: int) -> None:
        """A terminal has written so much: is somebody typing?"""
        if count <= TYPED_BYTES:
            self._typed_at = trio.current_time()
            self._typing = True

    def block_bytes(self) -> int:
        """How much to read at once."""
        return SMALL_BLOCK_BYTES if self._typing else BLOCK_BYTES

    async def after_block(self, count: int) -> None:
        """A block of this size has been worked on: let others go first where it was a large one."""
        if count < SMALL_BLOCK_BYTES // 2 or not self._typing:
            return
        self._typing = trio.current_time() - self._typed_at < TYPING_S
        if _CAN_YIELD:
            os.sched_yield()
        await trio.lowlevel.cancel_shielded_checkpoint()


class YieldBudget:
    """For one task: report with `moved`, and await `checkpoint` where Trio wants one."""

    def __init__(self) -> None:
        self._moved = YIELD_BYTES

    def moved(self, count: int) -> None:
        """Note that so many bytes were moved at once."""
        self._moved += count if count >= BULK_BYTES else YIELD_BYTES

    async def checkpoint(self) -> None:
        """Always a point to be cancelled at; the others run when the budget is spent."""
        if self._moved < YIELD_BYTES:
            await trio.lowlevel.checkpoint_if_cancelled()
        else:
            self._moved = 0
            await trio.lowlevel.checkpoint()
