"""Counting within a window."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kled_coord.identity.throttle import Throttle


def test_one_too_many_waits_until_the_first_is_old() -> None:
    throttle = Throttle(5, 300)
    assert all(throttle.allow("k", second) for second in range(5))
    assert not throttle.allow("k", 10)
    assert throttle.wait_s("k", 10) == 290
    assert throttle.wait_s("other", 10) == 0
    assert throttle.allow("k", 300)


def test_what_is_given_back_is_the_newest() -> None:
    throttle = Throttle(2, 300)
    throttle.count("k", 0)
    throttle.count("k", 100)
    throttle.give_back("k")
    assert throttle.allow("k", 200)
    assert throttle.wait_s("k", 250) == 50
    throttle.give_back("never counted")


@given(st.lists(st.text(max_size=3), max_size=60))
def test_memory_is_bounded(keys) -> None:
    throttle = Throttle(5, 300, keys_max=4)
    for second, key in enumerate(keys):
        throttle.count(key, second)
    assert len(throttle._counted) <= 4
    if keys:
        assert keys[-1] in throttle._counted
