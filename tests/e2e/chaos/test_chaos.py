"""A minute of chaos; `scripts/chaos` takes as long as you like."""

from __future__ import annotations

import pytest

from tests.e2e.chaos.plan import EVERYWHERE
from tests.e2e.chaos.run import run
from tests.kit.slowlink import why_not

MISSING = why_not()
SEED = 5
SECONDS = 60.0


@pytest.mark.skipif(bool(MISSING), reason=MISSING)
@pytest.mark.timeout(400)
def test_no_session_is_lost_whatever_happens() -> None:
    said: list[str] = []
    report = run(SEED, SECONDS, (), said.append, pace_s=2.5)
    assert not report.lost, "\n".join([*said, *report.lines()])
    # Among it a client that sleeps longer than it takes to give up a silent transport.
    assert {one.kind for one in report.happened} == set(EVERYWHERE)
    assert report.resumes
    assert all(fate.checks for fate in report.fates)


@pytest.mark.skipif(bool(MISSING), reason=MISSING)
@pytest.mark.timeout(400)
def test_a_killed_agent_ends_streams_at_once_and_no_named_session() -> None:
    said: list[str] = []
    report = run(SEED, 15.0, ["restart-agent"], said.append)
    assert not report.lost, "\n".join([*said, *report.lines()])
    assert report.happened
    assert {fate.name for fate in report.fates if not fate.anew} == {"named session"}
