"""Tasks that carry a connection outlive a cancellation of the block, for as long as it may take."""

from __future__ import annotations

import trio

from kled_wire.lasting_nursery import open_lasting_nursery
from kled_wire.limits import CLEANUP_S


async def test_a_task_carries_what_the_clean_up_of_a_cancelled_block_sends(
    autojump_clock: trio.abc.Clock,
) -> None:
    carried = []
    send, receive = trio.open_memory_channel[str](1)

    async def carry() -> None:
        async for said in receive:
            await trio.sleep(CLEANUP_S / 2)
            carried.append(said)

    with trio.CancelScope() as scope:
        async with open_lasting_nursery() as nursery:
            nursery.start_soon(carry)
            scope.cancel()
            try:
                await trio.sleep_forever()
            finally:
                send.send_nowait("goodbye")
                send.close()
    assert carried == ["goodbye"]


async def test_a_task_that_does_not_end_is_cancelled_in_time(
    autojump_clock: trio.abc.Clock,
) -> None:
    began = trio.current_time()
    async with open_lasting_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
    assert trio.current_time() - began == CLEANUP_S


async def test_a_cancellation_before_the_nursery_is_open_ends_it() -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        async with open_lasting_nursery():
            raise AssertionError
    assert scope.cancelled_caught
