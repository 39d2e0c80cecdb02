"""Processes killed at no chosen moment: nothing is lost, nothing is left."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kit.soak import soak

pytestmark = pytest.mark.slow


@pytest.mark.timeout(240)
def test_nothing_is_lost_however_often_it_is_killed(tmp_path: Path) -> None:
    assert soak(tmp_path, seed=20, kills=20, edits=12) >= 20
