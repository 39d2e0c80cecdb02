"""Leases run out when nobody renews them, however clocks step and whoever stood still."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kled_coord.builds.leases import LEASE_S, LOOK_MAX_S, LeaseWatch
from kled_wire.names import BuildId

A, B = BuildId("bld_a"), BuildId("bld_b")


def test_one_that_stays_the_same_runs_out_and_one_that_is_renewed_does_not() -> None:
    watch, now = LeaseWatch(), 0.0
    for renewed in range(5):
        assert watch.expired({A: 1, B: renewed}, now) == ([A] if now >= LEASE_S else [])
        now += 10


def test_time_in_which_nobody_looked_does_not_count() -> None:
    watch = LeaseWatch()
    assert watch.expired({A: 1}, 0) == []
    assert watch.expired({A: 1}, 10_000) == []
    assert watch.expired({A: 1}, 10_000 + LOOK_MAX_S) == [A]


def test_a_build_that_another_worker_took_begins_anew() -> None:
    watch = LeaseWatch()
    for now in (0, 15, 30):
        watch.expired({A: ("one", 1)}, now)
    assert watch.expired({A: ("two", 2)}, 45) == []
    assert watch.expired({}, 60) == []
    assert watch.expired({A: ("two", 2)}, 75) == []


@given(st.lists(st.floats(0, 100), max_size=30))
def test_a_lease_renewed_between_all_looks_never_runs_out(gaps: list[float]) -> None:
    watch, now = LeaseWatch(), 0.0
    for number, gap in enumerate(gaps):
        now += gap
        assert watch.expired({A: number}, now) == []
