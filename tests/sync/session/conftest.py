"""Two folders to be kept the same, and one to be copied."""

from __future__ import annotations

import os
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


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = tmp_path / "source"
    (root / "sub" / "deep").mkdir(parents=True)
    (root / "empty").mkdir()
    (root / "a.txt").write_text("hello")
    (root / "sub" / "b").write_bytes(b"")
    (root / "sub" / "deep" / "run.sh").write_text("#!/bin/sh\n")
    (root / "sub" / "deep" / "run.sh").chmod(0o751)
    (root / "link").symlink_to("a.txt")
    (root / os.fsdecode(b"no-utf8-\xff")).write_text("x")
    return root
