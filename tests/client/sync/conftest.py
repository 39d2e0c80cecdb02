"""The state of the syncs for tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

Env = dict[str, str]


@pytest.fixture
def env(tmp_path: Path) -> Env:
    return {**os.environ, "XDG_STATE_HOME": str(tmp_path / "state")}
