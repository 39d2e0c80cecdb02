"""Blocks are small while somebody types, and whoever moves much lets the others run."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from kled_wire.scheduling import (
    BLOCK_BYTES,
    BULK_BYTES,
    SMALL_BLOCK_BYTES,
    TYPED_BYTES,
    TYPING_S,
    YIELD_BYTES,
    TypingPriority,
    YieldBudget,
)


async def rounds_of_others(priority: TypingPriority, count: int) -> int:
    """How often another task that is ready runs while ten blocks are worked on."""
    rounds = 0

    async def other() -> None:
        nonlocal rounds
        while True:
            await trio.lowlevel.checkpoint()
            rounds += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        await trio.lowlevel.checkpoint()
        rounds = 0
        for _ in range(10):
            await priority.after_block(count)
        seen = rounds
        nursery.cancel_scope.cancel()
    return seen


async def test_blocks_are_small_while_somebody_types(
    autojump_clock: trio.testing.MockClock,
) -> None:
    priority = TypingPriority()
    assert priority.block_bytes() == BLOCK_BYTES
    priority.terminal_wrote(1)
    assert priority.block_bytes() == SMALL_BLOCK_BYTES
    await trio.sleep(TYPING_S)
    await priority.after_block(SMALL_BLOCK_BYTES)
    assert priority.block_bytes() == BLOCK_BYTES


async def test_a_flood_on_a_terminal_is_not_typing() -> None:
    priority = TypingPriority()
    priority.terminal_wrote(TYPED_BYTES + 1)
    assert priority.block_bytes() == BLOCK_BYTES


async def test_others_run_after_each_block_while_somebody_types() -> None:
    priority = TypingPriority()
    assert await rounds_of_others(priority, BLOCK_BYTES) == 0
    priority.terminal_wrote(1)
    assert await rounds_of_others(priority, SMALL_BLOCK_BYTES) >= 9
    assert await rounds_of_others(priority, 1) == 0


async def others_run(size: int, times: int) -> int:
    """How often another task runs while blocks of `size` are moved."""
    budget, ran = YieldBudget(), 0

    async def other() -> None:
        nonlocal ran
        while True:
            await trio.lowlevel.checkpoint()
            ran += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        for _ in range(times):
            await budget.checkpoint()
            budget.moved(size)
        nursery.cancel_scope.cancel()
    return ran


# The order of two tasks in a round of the loop is random: one more, or one less.
@pytest.mark.parametrize("size", [0, 1, BULK_BYTES - 1, YIELD_BYTES])
async def test_the_others_run_after_whatever_is_small_or_very_large(size: int) -> None:
    assert abs(await others_run(size, 20) - 20) <= 2


async def test_and_after_so_many_bytes_of_what_is_bulk() -> None:
    assert abs(await others_run(YIELD_BYTES // 4, 40) - 10) <= 2


async def test_a_budget_can_be_cancelled_at_each_block() -> None:
    budget = YieldBudget()
    await budget.checkpoint()
    budget.moved(BULK_BYTES)
    with trio.CancelScope() as scope:
        scope.cancel()
        await budget.checkpoint()
    assert scope.cancelled_caught
