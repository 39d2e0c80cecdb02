"""Times as people write them on the command line."""

from __future__ import annotations

import time

import pytest

from kled_client.cli.times import moment
from kled_wire.errors import InputError


def test_times_as_people_say_them() -> None:
    now = time.time()
    assert moment("2h", now) == now - 7200
    assert moment("2026-11-28T10:00:00+00:00", now) == 1795860000
    assert time.strftime("%H:%M", time.localtime(moment("9:05", now))) == "09:05"
    with pytest.raises(InputError):
        moment("noon", now)
