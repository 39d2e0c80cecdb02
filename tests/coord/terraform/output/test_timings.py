"""The stages of a run and its work on resources, measured."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kled_coord.terraform.output.events import (
    Event,
    ResourceDone,
    ResourceFailed,
    ResourceStarted,
    StageBegan,
    TerraformMessage,
)
from kled_coord.terraform.output.timings import BEGUN, STEPS_MAX


def measured(*events: tuple[float, Event]) -> list[tuple[str, str, float, float | None, bool]]:
    timings = BEGUN
    for at_s, event in events:
        timings = timings.after(event, at_s)
    return [(s.kind, s.name, s.started_s, s.duration_s, s.failed) for s in timings.steps]


def test_a_stage_ends_with_the_next_and_a_resource_by_itself() -> None:
    assert measured(
        (1.0, StageBegan("init")),
        (3.0, StageBegan("apply")),
        (3.5, ResourceStarted("a.b", "create")),
        (3.6, ResourceStarted("a.c", "create")),
        (4.0, ResourceDone("a.b", "create", 0)),
        (4.5, ResourceFailed("a.c", "create", 0)),
    ) == [
        ("stage", "prepare", 0.0, 1.0, False),
        ("stage", "init", 1.0, 2.0, False),
        ("stage", "apply", 3.0, None, False),
        ("resource", "a.b", 3.5, 0.5, False),
        ("resource", "a.c", 3.6, 0.9, True),
    ]


def test_what_is_open_at_the_end_of_a_run_that_failed_has_failed() -> None:
    timings = BEGUN.after(StageBegan("apply"), 1).after(ResourceStarted("a.b", "create"), 2)
    ended = timings.ended(5, failed=True).plain()
    assert [(step["name"], step["duration_s"], step["failed"]) for step in ended] == [
        ("prepare", 1, False),
        ("apply", 4, True),
        ("a.b", 3, True),
    ]


events = st.one_of(
    st.builds(StageBegan, st.sampled_from(["init", "plan"])),
    st.builds(ResourceStarted, st.sampled_from("abc"), st.just("create")),
    st.builds(ResourceDone, st.sampled_from("abc"), st.just("create"), st.just(0.0)),
    st.builds(TerraformMessage, st.just("info"), st.just("x")),
)


@given(st.lists(events, max_size=40))
def test_whatever_comes_each_step_ends_once_and_none_is_negative(found: list[Event]) -> None:
    timings = BEGUN
    for at_s, event in enumerate(found):
        timings = timings.after(event, at_s)
    over = timings.ended(len(found), failed=False)
    assert not over.open
    assert all(step.duration_s is not None and step.duration_s >= 0 for step in over.steps)


def test_a_template_with_very_many_resources_is_cut() -> None:
    timings = BEGUN
    for number in range(STEPS_MAX + 5):
        timings = timings.after(ResourceStarted(f"a.b[{number}]", "create"), 1)
    assert len(timings.steps) == STEPS_MAX
