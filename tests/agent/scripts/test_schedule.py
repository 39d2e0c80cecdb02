"""Which script runs when."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from kled_agent.scripts.schedule import Due, Schedule, Stage
from kled_wire.control.agent_spec import AgentSpec, Script

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)


def script(name: str, *, after: tuple[str, ...] = (), **more: Any) -> Script:
    more = more or {"run_on_start": True}
    return Script(id=name, name=name, script=f"echo {name}", after=after, **more)


def spec(*scripts: Script, build: str = "bld_1") -> AgentSpec:
    return AgentSpec(build_id=build, scripts=scripts)


def names(found: list[Due]) -> list[str]:
    return [due.script.id for due in found]


def finish(schedule: Schedule) -> list[str]:
    """Run everything that is due, one after the other; the order it ended in."""
    order: list[str] = []
    while found := schedule.due(NOW):
        for due in found:
            order.append(due.script.id)
            schedule.ended(due)
    return order


def test_scripts_run_after_those_that_they_name() -> None:
    schedule = Schedule()
    schedule.set_spec(spec(script("b", after=("a", "not_here")), script("a"), script("c")), NOW)
    first = schedule.due(NOW)
    assert names(first) == ["a", "c"]
    assert schedule.due(NOW) == []
    schedule.ended(first[1])
    assert schedule.due(NOW) == []
    schedule.ended(first[0])
    assert names(schedule.due(NOW)) == ["b"]


@given(st.dictionaries(st.sampled_from("abcdef"), st.sets(st.sampled_from("abcdefx"))))
def test_every_start_script_runs_once_also_in_a_circle(graph: dict[str, set[str]]) -> None:
    schedule = Schedule()
    scripts = [script(name, after=tuple(sorted(after))) for name, after in graph.items()]
    schedule.set_spec(spec(*scripts), NOW)
    assert sorted(finish(schedule)) == sorted(graph)
    schedule.set_spec(spec(*scripts), NOW)
    assert finish(schedule) == [], "told the same again"


def test_a_changed_script_runs_again_when_its_older_text_has_ended() -> None:
    schedule = Schedule()
    schedule.set_spec(spec(script("a")), NOW)
    (old,) = schedule.due(NOW)
    changed = replace(script("a"), script="echo other")
    assert names(schedule.set_spec(spec(changed, script("b"), build="bld_2"), NOW)) == ["a", "b"]
    assert names(schedule.due(NOW)) == ["b"]
    schedule.ended(old)
    assert schedule.due(NOW) == [Due(script=changed, stage=Stage.START)]


def test_a_stop_ends_what_waits_and_runs_its_own_scripts_once() -> None:
    schedule = Schedule()
    tick = script("tick", cron="* * * * *")
    bye, last = script("bye", run_on_stop=True), script("last", run_on_stop=True, after=("bye",))
    scripts = spec(script("a"), script("b", after=("a",)), tick, bye, last)
    schedule.set_spec(scripts, NOW)
    (running,) = schedule.due(NOW)
    assert names(schedule.begin_stop()) == ["bye", "last"]
    assert schedule.begin_stop() == []
    assert not schedule.stopped
    assert schedule.next_cron() is None
    schedule.ended(running)
    assert finish(schedule) == ["bye", "last"]
    assert schedule.stopped
    assert schedule.due(NOW + timedelta(hours=1)) == []
    # The same again after a reconnection is no start; the next build is.
    schedule.set_spec(scripts, NOW)
    assert schedule.due(NOW) == []
    schedule.set_spec(replace(scripts, build_id="bld_2"), NOW)
    assert finish(schedule) == ["a", "b"]


def test_a_cron_script_is_due_at_its_time_and_not_beside_itself() -> None:
    schedule = Schedule()
    schedule.set_spec(spec(script("tick", cron="*/5 * * * *")), NOW)
    assert schedule.due(NOW) == []
    assert schedule.next_cron() == NOW + timedelta(minutes=5)
    (due,) = schedule.due(NOW + timedelta(minutes=5))
    assert due.stage is Stage.CRON
    assert schedule.due(NOW + timedelta(minutes=10)) == []
    schedule.ended(due)
    assert schedule.due(NOW + timedelta(minutes=12)) == []
    assert names(schedule.due(NOW + timedelta(minutes=15))) == ["tick"]


def test_a_cron_that_is_none_is_told_and_keeps_nothing_else_from_running() -> None:
    schedule = Schedule()
    schedule.set_spec(spec(script("bad", cron="nonsense"), script("a")), NOW)
    assert "bad: cron" in schedule.problem
    assert finish(schedule) == ["a"]
