"""Two tasks at once on one stream are told so; sizes that make no sense are refused at once."""

from __future__ import annotations

import pytest
import trio

from kled_wire.transport.exclusive import Exclusive, check_size


def test_a_second_task_is_told_and_the_first_goes_on() -> None:
    reading = Exclusive("reading")
    with reading, pytest.raises(trio.BusyResourceError, match="another task is reading"), reading:
        pass
    with reading:
        pass


@pytest.mark.parametrize(("size", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError)])
def test_a_size_that_makes_no_sense(size: int, error: type[Exception]) -> None:
    with pytest.raises(error):
        check_size(size)
    check_size(None)
    check_size(1)
