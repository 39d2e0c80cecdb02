"""Places for strangers."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from kled_coord.front.admission import Admission
from kled_wire import limits
from kled_wire.errors import LimitError


async def test_whoever_finds_no_place_waits_in_turn_for_one_from_the_same_address(nursery) -> None:
    admission = Admission(2)
    first, second = [await admission.enter("2001:db8::1") for _ in range(2)]
    came: list[int] = []

    async def enter(number: int) -> None:
        await admission.enter("2001:db8::2")
        came.append(number)

    for number in range(3):
        nursery.start_soon(enter, number)
        await trio.testing.wait_all_tasks_blocked()
    (await admission.enter("2001:db8:0:1::1")).leave()
    assert came == []
    for place in (first, first, second):
        place.leave()
        await trio.testing.wait_all_tasks_blocked()
    assert came == [0, 1]
    assert not first.is_held
    nursery.cancel_scope.cancel()


async def test_nobody_waits_for_ever_and_not_too_many_do(autojump_clock, nursery) -> None:
    admission = Admission(1, waiting=1)
    place = await admission.enter("192.0.2.1")
    began = trio.current_time()
    with pytest.raises(LimitError) as caught:
        await admission.enter("192.0.2.1")
    assert trio.current_time() - began == limits.HEAD_TIMEOUT_S
    assert caught.value.code == "too_many_connections"
    nursery.start_soon(admission.enter, "192.0.2.1")
    await trio.testing.wait_all_tasks_blocked()
    began = trio.current_time()
    with pytest.raises(LimitError):
        await admission.enter("192.0.2.1")
    assert trio.current_time() == began
    place.leave()


async def test_addresses_that_have_left_are_forgotten() -> None:
    admission = Admission(1)
    for number in range(100):
        (await admission.enter(f"192.0.2.{number}")).leave()
    assert admission._limiters == {}
