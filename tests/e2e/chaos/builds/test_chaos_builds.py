"""A minute of chaos with builds; `scripts/chaos-builds` makes as many as you like."""

from __future__ import annotations

import pytest

from tests.e2e.chaos.builds.plan import KINDS, SLOW
from tests.e2e.chaos.builds.run import run_builds
from tests.kit.small_disk import why_no_disk

MISSING = why_no_disk()
SEED, BUILDS = 4, 12


@pytest.mark.skipif(bool(MISSING), reason=MISSING)
@pytest.mark.timeout(600)
def test_no_build_loses_anything_whatever_happens() -> None:
    said: list[str] = []
    kinds = [kind for kind in KINDS if kind not in SLOW]
    report = run_builds(SEED, BUILDS, kinds, said.append, pace_s=2.0)
    assert not report.faults, "\n".join([*said, *report.lines()])
    assert len(report.compared) > BUILDS
    assert report.happened
