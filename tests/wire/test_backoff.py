"""Retry delays: they double, they are capped, they are spread; and dials: they have a pace."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from kled_wire import limits
from kled_wire.backoff import Backoff, Pace, Redials

PACE = Pace(burst=3, every_s=5.0)


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


def redials(*, pace: Pace = PACE, die: float = 0.999) -> Redials:
    """With a die that always says the same."""
    return Redials(Backoff(first_s=1.0, cap_s=60.0), pace, lambda: die, spread_s=2.0)


def test_a_link_that_was_let_in_begins_the_backoff_anew() -> None:
    dials = redials(pace=Pace(burst=100, every_s=1.0), die=0.5)
    assert [dials.failed(0.0) for _ in range(4)] == [0.5, 1.0, 2.0, 4.0]
    assert dials.lost(10.0) == 1.0
    assert [dials.failed(20.0) for _ in range(2)] == [1.0, 2.0]
    assert dials.failures == 3
    dials.begin_anew()
    assert dials.failed(30.0) == 0.5


def test_jitter_comes_on_top_of_what_the_other_end_asks_for() -> None:
    dials = redials(pace=Pace(burst=100, every_s=1.0), die=0.5)
    assert dials.lost(0.0, away_s=7.0) == 8.0
    assert dials.failed(0.0, away_s=7.0) == 8.0


@given(st.floats(PACE.every_s, 100), st.floats(0, 1, exclude_max=True))
def test_a_link_that_lives_as_long_as_the_pace_never_waits_for_it(lived: float, die: float) -> None:
    dials, now = redials(die=die), 0.0
    for _ in range(50):
        now += lived
        wait_s = dials.lost(now)
        assert wait_s <= 2.0
        now += wait_s


# What one attempt comes to: for how long it lasted, whether it was let in, how the dice fell.
ATTEMPTS = st.lists(
    st.tuples(
        st.just(0.0) | st.floats(0, 30),
        st.booleans(),
        st.lists(st.just(0.0) | st.floats(0, 1, exclude_max=True), min_size=2, max_size=2),
    ),
    max_size=60,
)


@given(ATTEMPTS)
def test_in_no_stretch_of_time_are_there_more_dials_than_the_pace_says(
    attempts: list[tuple[float, bool, list[float]]],
) -> None:
    dice: list[float] = []
    dials = Redials(Backoff(), PACE, dice.pop, spread_s=1.0)
    now, at = 0.0, [0.0]
    for lived, let_in, fell in attempts:
        now += lived
        dice[:] = fell
        wait_s = dials.lost(now) if let_in else dials.failed(now)
        assert 0.0 <= wait_s <= max(limits.REDIAL_CAP_S, 2 * PACE.every_s)
        now += wait_s
        at.append(now)
    for first in range(len(at)):
        for last in range(first, len(at)):
            most = PACE.burst + (at[last] - at[first]) / PACE.every_s
            assert last - first + 1 <= most + 1e-6


def test_who_dials_before_the_wait_is_over_does_not_pay_for_it_for_ever() -> None:
    """A network that changes is a reason to, and may change often."""
    dials = redials(die=0.0)
    for _ in range(100):
        dials.lost(0.0)
    assert dials.lost(0.0) == PACE.every_s


def fleet(agents: int, until_s: float, *, lives_s: float) -> Counter[int]:
    """Dials in each tenth of a second of agents that all lose their link at 0, and again."""
    dice, seen = random.Random(7), Counter[int]()
    for _ in range(agents):
        dials = Redials(
            Backoff(),
            Pace(limits.REDIAL_BURST, limits.REDIAL_EVERY_S),
            dice.random,
            spread_s=limits.REDIAL_SPREAD_S,
        )
        now = 0.0
        while (now := now + dials.lost(now)) < until_s:
            seen[int(now * 10)] += 1
            now += lives_s
    return seen


def test_agents_that_lose_their_links_together_come_back_spread() -> None:
    seen = fleet(5000, 10.0, lives_s=100.0)
    assert seen.total() == 5000
    assert len(seen) == 10
    assert max(seen.values()) < 600


def test_agents_that_are_welcomed_and_dropped_at_once_for_ever_come_no_faster_than_the_pace() -> (
    None
):
    seen = fleet(1000, 300.0, lives_s=0.0)
    assert seen.total() <= 1000 * (limits.REDIAL_BURST + 300.0 / limits.REDIAL_EVERY_S)
    # Not in step either, once nobody has anything left.
    late = [seen[tenth] for tenth in range(600, 3000)]
    mean = 1000 / limits.REDIAL_EVERY_S / 10
    assert max(late) < 4 * mean
