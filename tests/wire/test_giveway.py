"""Bulk gives way while somebody types, and only then."""

from __future__ import annotations

import trio
import trio.testing

from kled_wire.giveway import BLOCK_BYTES, SMALL_BLOCK_BYTES, TYPED_BYTES, TYPING_S, GiveWay


async def rounds_of_others(give_way: GiveWay, count: int) -> int:
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
            await give_way.after_block(count)
        seen = rounds
        nursery.cancel_scope.cancel()
    return seen


async def test_blocks_are_small_while_somebody_types(
    autojump_clock: trio.testing.MockClock,
) -> None:
    give_way = GiveWay()
    assert give_way.block_bytes() == BLOCK_BYTES
    give_way.terminal_wrote(1)
    assert give_way.block_bytes() == SMALL_BLOCK_BYTES
    await trio.sleep(TYPING_S)
    await give_way.after_block(SMALL_BLOCK_BYTES)
    assert give_way.block_bytes() == BLOCK_BYTES


async def test_a_flood_on_a_terminal_is_not_typing() -> None:
    give_way = GiveWay()
    give_way.terminal_wrote(TYPED_BYTES + 1)
    assert give_way.block_bytes() == BLOCK_BYTES


async def test_others_have_their_turn_after_each_block_while_somebody_types() -> None:
    give_way = GiveWay()
    assert await rounds_of_others(give_way, BLOCK_BYTES) == 0
    give_way.terminal_wrote(1)
    assert await rounds_of_others(give_way, SMALL_BLOCK_BYTES) >= 9
    assert await rounds_of_others(give_way, 1) == 0
