"""A nursery for what carries a connection, which must outlive the block that uses it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from kled_wire.limits import CLEANUP_S


@asynccontextmanager
async def open_lasting_nursery() -> AsyncIterator[trio.Nursery]:
    """A nursery whose tasks go on where the block is cancelled, until it has cleaned up.

    After the block they end by themselves, or are cancelled within CLEANUP_S; the block may set an
    earlier deadline on the nursery's scope.
    """
    opened, left = trio.Event(), trio.Event()
    made: list[trio.Nursery] = []

    async def hold() -> None:
        async with trio.open_nursery() as lasting:
            lasting.cancel_scope.shield = True
            made.append(lasting)
            opened.set()
            await left.wait()

    async with trio.open_nursery() as nursery:
        # Not `nursery.start`, which never returns where a cancellation and a shield meet in it.
        nursery.start_soon(hold)
        try:
            await opened.wait()
            yield made[0]
        finally:
            for lasting in made:
                limit = trio.current_time() + CLEANUP_S
                lasting.cancel_scope.deadline = min(lasting.cancel_scope.deadline, limit)
            left.set()
