"""A root that was looked at, in the state that a session finds it in."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from kled_sync.endpoint.holding import HeldRoot
from kled_sync.files.options import Options


@pytest.fixture
def held(root: Path, tmp_path: Path) -> Iterator[HeldRoot]:
    """`root` is the test's; all files in it were read."""
    env = {"XDG_STATE_HOME": str(tmp_path / "state")}
    holding = HeldRoot(os.fsencode(root), Options(durable="none"), env)
    list(holding.scan(1, everywhere=True, directories=()))
    for path in root.rglob("*"):
        if path.is_file():
            list(holding.hash(os.fsencode(path.relative_to(root))))
    yield holding
    holding.close()
