"""Two folders to be kept the same."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def alpha(tmp_path: Path) -> Path:
    root = tmp_path / "alpha"
    (root / "sub").mkdir(parents=True)
    (root / "a").write_text("1")
    (root / "sub" / "b").write_text("2")
    return root


@pytest.fixture
def beta(tmp_path: Path) -> Path:
    return tmp_path / "beta"
