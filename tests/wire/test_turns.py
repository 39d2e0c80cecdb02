"""Who moves much lets the others run now and then, and can be cancelled at any time."""

from __future__ import annotations

import pytest
import trio

from kled_wire.turns import BULK_BYTES, TURN_BYTES, Turns


async def others_run(size: int, times: int) -> int:
    """How often another task runs while blocks of `size` are moved."""
    turns, ran = Turns(), 0

    async def other() -> None:
        nonlocal ran
        while True:
            await trio.lowlevel.checkpoint()
            ran += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        for _ in range(times):
            await turns.checkpoint()
            turns.moved(size)
        nursery.cancel_scope.cancel()
    return ran


# The order of two tasks in a round of the loop is random: one more, or one less.
@pytest.mark.parametrize("size", [0, 1, BULK_BYTES - 1, TURN_BYTES])
async def test_the_others_run_after_whatever_is_small_or_very_large(size: int) -> None:
    assert abs(await others_run(size, 20) - 20) <= 2


async def test_and_after_so_many_bytes_of_what_is_bulk() -> None:
    assert abs(await others_run(TURN_BYTES // 4, 40) - 10) <= 2


async def test_a_turn_can_be_cancelled_at_each_block() -> None:
    turns = Turns()
    await turns.checkpoint()
    turns.moved(BULK_BYTES)
    with trio.CancelScope() as scope:
        scope.cancel()
        await turns.checkpoint()
    assert scope.cancelled_caught
