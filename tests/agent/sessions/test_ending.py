from __future__ import annotations

import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kled_agent.sessions.ending import signal_named, told_status


@given(st.integers(0, 255))
def test_an_exit_status_is_told_as_it_is(code: int) -> None:
    assert told_status(code) == (code, None)


def test_signals_are_told_by_their_names_and_real_time_ones_as_shells_do() -> None:
    assert told_status(-signal.SIGKILL) == (None, "KILL")
    assert told_status(-35) == (163, None)
    assert told_status(-signal.SIGRTMAX) == (128 + signal.SIGRTMAX, None)


@given(st.sampled_from(signal.Signals))
def test_a_signal_has_the_name_that_it_is_told_by(number: signal.Signals) -> None:
    assert signal_named(number.name.removeprefix("SIG")) is number


@pytest.mark.parametrize("name", ["", "_IGN", "_BLOCK", "WHATEVER", "term"])
def test_no_other_name_is_a_signal(name: str) -> None:
    assert signal_named(name) is None
