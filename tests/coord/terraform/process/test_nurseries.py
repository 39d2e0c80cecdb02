"""A nursery's one error as itself."""

from __future__ import annotations

import pytest
import trio

from kled_coord.terraform.process.nurseries import one_error


async def fail() -> None:
    raise LookupError("why") from ValueError("cause")


async def run(tasks: int) -> None:
    with one_error():
        async with trio.open_nursery() as outer, trio.open_nursery() as inner:
            for _ in range(tasks):
                inner.start_soon(fail)
            outer.start_soon(trio.sleep, 0)


async def test_one_error_is_raised_as_itself_with_its_cause() -> None:
    with pytest.raises(LookupError, match="why") as caught:
        await run(1)
    assert isinstance(caught.value.__cause__, ValueError)


async def test_several_stay_a_group() -> None:
    with pytest.raises(ExceptionGroup):
        await run(2)
