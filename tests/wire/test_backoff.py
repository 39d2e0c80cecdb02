"""Retry delays: they double, they are capped, they are spread."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kled_wire import limits
from kled_wire.backoff import Backoff


def test_the_ceiling_doubles_up_to_the_cap() -> None:
    backoff = Backoff(first_s=1.0, cap_s=10.0)
    assert [backoff.ceiling(n) for n in range(7)] == [0.0, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0]


@given(st.integers(min_value=-5, max_value=10**9), st.floats(0, 1, exclude_max=True))
def test_a_delay_is_below_its_ceiling_and_the_cap(failures: int, random: float) -> None:
    delay = Backoff().delay(failures, lambda: random)
    assert 0.0 <= delay <= Backoff().ceiling(failures) <= limits.REDIAL_CAP_S


def test_the_jitter_is_full() -> None:
    backoff = Backoff(first_s=4.0, cap_s=100.0)
    assert [backoff.delay(1, lambda r=r: r) for r in (0.0, 0.25, 0.5)] == [0.0, 1.0, 2.0]  # type: ignore[misc]  # a default argument binds r
