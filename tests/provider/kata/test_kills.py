"""What makes containers is killed at random moments, and apply converges: tests/kit says how."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.kit.cni import why_not
from tests.kit.container_kills import open_rig, run_kills

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(why_not()), reason=why_not())]


async def test_five_kills_leave_nothing(containerd: Any, tmp_path: Path) -> None:
    directory = tmp_path / "rig"
    directory.mkdir()
    with open_rig(containerd, directory, seed=3) as rig:
        await run_kills(rig, 5)
