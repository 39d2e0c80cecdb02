"""Each thing that may be lost, doubled or left is seen, and nothing else is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.e2e.chaos.builds.load import Compared
from tests.e2e.chaos.builds.plan import KINDS
from tests.e2e.chaos.builds.report import BuildReport
from tests.e2e.chaos.builds.trouble import BuildTroublemaker
from tests.e2e.chaos.builds.truth import Facts, Told, find_faults

PIDS = {"agent": 1, "helper": 2}
RUNS = Facts(
    transition="start",
    outcome="succeeded",
    status="running",
    exists=tuple(PIDS.items()),
    recorded=PIDS,
    things=frozenset("ab"),
    told=Told(processes=PIDS, things=frozenset("ab"), agents=1),
    agents=1,
)
STOPPED = Facts(
    transition="stop",
    outcome="succeeded",
    status="stopped",
    things=frozenset("a"),
    told=Told(things=frozenset("a"), agents=1),
    agents=1,
)
GONE = Facts(transition="delete", outcome="succeeded", status=None)
# Cut off after it had made one process and one thing: the next start finds both.
CUT = replace(
    RUNS,
    outcome="failed",
    status="failed",
    exists=(("agent", 1),),
    untold=frozenset("b"),
    told=Told(things=frozenset("a"), agents=1),
)


@pytest.mark.parametrize("facts", [RUNS, STOPPED, GONE, CUT])
def test_what_may_be_has_no_fault(facts: Facts) -> None:
    assert find_faults(facts) == []


@pytest.mark.parametrize(
    ("facts", "fault"),
    [
        (replace(RUNS, lock="bld_1"), "locked by bld_1"),
        (replace(GONE, active=1), "1 builds go on"),
        (replace(CUT, status="starting"), "says starting, and no build goes on"),
        (replace(CUT, exists=(("agent", 1), ("agent", 3))), "2 processes are agent"),
        (replace(CUT, exists=(("agent", 3),)), r"nobody knows the process agent \(3\)"),
        (replace(CUT, untold=frozenset()), "forgotten the thing b"),
        (replace(RUNS, status="stopped"), "says stopped after a start"),
        (replace(RUNS, exists=(("agent", 1),)), "run, the state has"),
        (replace(RUNS, things=frozenset("a")), "things that do not exist"),
        (replace(RUNS, agents=2), "2 agents, the state has 1"),
        (replace(STOPPED, exists=(("agent", 1),), recorded=PIDS), "run after a stop"),
        (replace(STOPPED, told=Told()), "the state has 0 things after a stop"),
        (replace(STOPPED, status="running"), "says running after a stop"),
        (replace(GONE, status="deleting"), "says deleting after a delete"),
        (replace(GONE, exists=(("agent", 1),)), "run after a delete"),
        (replace(GONE, told=Told(agents=1)), "the state still has"),
        (replace(GONE, agents=1), "1 agents of a deleted workspace"),
    ],
)
def test_what_may_not_be_is_a_fault(facts: Facts, fault: str) -> None:
    with pytest.raises(AssertionError, match=fault):
        assert not find_faults(facts)


def test_the_report_counts_builds_by_how_they_ended() -> None:
    row = Compared(workspace="box", transition="start", outcome="failed", error="x", took_s=2.0)
    report = BuildReport(seed=1, seconds=3, compared=[row, replace(row, faults=("two of it",))])
    text = "\n".join(report.lines())
    assert "start failed             2       2.0        2.0" in text
    assert "FAULT: box, start failed: two of it" in text
    assert text.endswith("compared 2 times, faults: 1")


def test_every_kind_can_be_done() -> None:
    for kind in KINDS:
        assert hasattr(BuildTroublemaker, f"_{kind.replace('-', '_')}")
