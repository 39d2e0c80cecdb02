"""Directories that nobody else may enter."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from kled_wire.private import make_private


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_what_was_open_to_others_is_closed_and_said(tmp_path: Path) -> None:
    directory = tmp_path / "state"
    assert make_private(directory) is None
    assert mode(directory) == 0o700
    directory.chmod(0o755)
    assert make_private(directory) == 0o755
    assert mode(directory) == 0o700
    assert make_private(directory) is None


def test_what_is_everybodys_stays_so(tmp_path: Path) -> None:
    shared = tmp_path / "tmp"
    shared.mkdir()
    shared.chmod(0o1777)
    with pytest.raises(OSError, match="everybody"):
        make_private(shared)
    assert mode(shared) == 0o1777
