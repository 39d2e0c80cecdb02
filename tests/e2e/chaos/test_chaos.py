"""A minute of chaos; `scripts/chaos` takes as long as you like."""

from __future__ import annotations

import pytest

from tests.e2e.chaos.plan import all_kinds
from tests.e2e.chaos.run import run
from tests.kit.slowlink import why_not

MISSING = why_not()
SEED = 6
SECONDS = 60.0


@pytest.mark.skipif(bool(MISSING), reason=MISSING)
@pytest.mark.timeout(400)
def test_no_session_is_lost_whatever_happens() -> None:
    said: list[str] = []
    report = run(SEED, SECONDS, (), said.append, pace_s=2.5)
    assert not report.lost, "\n".join([*said, *report.lines()])
    # Among it a client that sleeps longer than it takes to give up a silent transport.
    assert {one.kind for one in report.happened} == set(all_kinds(tls=False))
    assert report.resumes
    assert report.moves
    assert all(fate.checks for fate in report.fates)


@pytest.mark.skipif(bool(MISSING), reason=MISSING)
@pytest.mark.timeout(400)
def test_no_session_is_lost_over_tls_when_the_processes_of_the_data_plane_die() -> None:
    said: list[str] = []
    kinds = ["kill-offload", "kill-relay", "kill-coordinator", "cut-client", "direct"]
    report = run(SEED, 25.0, kinds, said.append, tls=True, pace_s=2.5)
    assert not report.lost, "\n".join([*said, *report.lines()])
    assert {one.kind for one in report.happened} == set(kinds)
    assert report.resumes
    assert report.moves


@pytest.mark.skipif(bool(MISSING), reason=MISSING)
@pytest.mark.timeout(400)
def test_a_killed_agent_ends_streams_at_once_and_no_named_session() -> None:
    said: list[str] = []
    report = run(SEED, 15.0, ["restart-agent"], said.append)
    assert not report.lost, "\n".join([*said, *report.lines()])
    assert report.happened
    # One that happens at the very end may not be noticed by a load that stops.
    assert any(fate.anew for fate in report.fates)
    assert not any(fate.anew for fate in report.fates if fate.name == "named session")
