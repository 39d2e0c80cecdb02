"""Failed logins."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from kled_coord.identity.throttle import FAILURES_MAX, FAILURES_WINDOW, Throttle

START = datetime(2026, 1, 1, tzinfo=UTC)


def test_the_sixth_try_waits_until_the_first_failure_is_old() -> None:
    throttle = Throttle()
    for second in range(FAILURES_MAX):
        assert throttle.wait_s("k", START) == 0
        throttle.failed("k", START + timedelta(seconds=second))
    now = START + timedelta(seconds=10)
    assert throttle.wait_s("k", now) == FAILURES_WINDOW.total_seconds() - 10
    assert throttle.wait_s("other", now) == 0
    assert throttle.wait_s("k", START + FAILURES_WINDOW) == 0


def test_a_success_forgets() -> None:
    throttle = Throttle()
    for _ in range(FAILURES_MAX):
        throttle.failed("k", START)
    throttle.succeeded("k")
    assert throttle.wait_s("k", START) == 0


@given(st.lists(st.text(max_size=3), max_size=60))
def test_memory_is_bounded(keys) -> None:
    throttle = Throttle(keys_max=4)
    for second, key in enumerate(keys):
        throttle.failed(key, START + timedelta(seconds=second))
    assert len(throttle._failures) <= 4
    if keys:
        assert keys[-1] in throttle._failures
