"""What is planned: the same for a seed, everything in turn, nothing in another's way."""

from __future__ import annotations

from itertools import combinations, pairwise

from hypothesis import given
from hypothesis import strategies as st

from tests.e2e.chaos.plan import KINDS, all_kinds, make_plan
from tests.e2e.chaos.trouble import Troublemaker

SEED = st.integers(0, 2**32)
EVERYWHERE = all_kinds(tls=True)


@given(SEED)
def test_a_seed_says_it_all(seed: int) -> None:
    plan = make_plan(seed, 300, EVERYWHERE)
    assert plan == make_plan(seed, 300, EVERYWHERE)
    assert plan != make_plan(seed + 1, 300, EVERYWHERE)


@given(SEED, st.floats(30, 600))
def test_what_needs_the_same_thing_never_overlaps(seed: int, seconds: float) -> None:
    plan = make_plan(seed, seconds, EVERYWHERE)
    assert all(one.at_s + one.for_s <= seconds for one in plan)
    for first, second in combinations(plan, 2):
        if KINDS[first.kind].needs & KINDS[second.kind].needs:
            assert first.at_s + first.for_s < second.at_s


@given(SEED)
def test_a_long_run_has_everything_and_several_at_a_time(seed: int) -> None:
    plan = make_plan(seed, 600, EVERYWHERE)
    assert {one.kind for one in plan} == set(EVERYWHERE)
    pairs = pairwise(plan)
    assert any(first.at_s + first.for_s > second.at_s for first, second in pairs)


@given(SEED, st.floats(25, 600), st.booleans())
def test_a_run_that_is_not_short_begins_with_a_direct_path_and_nothing_in_its_way(
    seed: int, seconds: float, tls: bool
) -> None:
    first, *others = make_plan(seed, seconds, all_kinds(tls=tls), pace_s=2.5)
    assert first.kind == "direct"
    lead_s = KINDS["direct"].lead_s
    assert first.for_s >= lead_s
    assert all(one.at_s >= first.at_s + lead_s for one in others)


def test_offload_processes_have_trouble_where_there_are_some() -> None:
    assert set(EVERYWHERE) - set(all_kinds(tls=False)) == {"kill-offload", "freeze-offload"}


def test_one_alone_may_last_longer() -> None:
    (one,) = make_plan(1, 320, ["agent-away"])
    assert one.for_s == 300


@given(SEED)
def test_what_ends_streams_comes_alone_and_only_when_asked_for(seed: int) -> None:
    plan = make_plan(seed, 200, ["restart-agent"])
    assert {one.kind for one in plan} == {"restart-agent"}
    for first, second in pairwise(plan):
        assert second.at_s >= first.at_s + first.for_s + KINDS["restart-agent"].rest_s


def test_every_kind_can_be_done() -> None:
    for kind in KINDS:
        assert hasattr(Troublemaker, f"_{kind.replace('-', '_')}")
