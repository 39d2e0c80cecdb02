"""Bundles for tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.coord.bundles.little import write_bundle

MakeBundle = Callable[..., Path]


@pytest.fixture
def make_bundle(tmp_path: Path) -> MakeBundle:
    """As write_bundle, in this test's directory."""

    def make(architecture: str = "amd64", name: str = "bundle", **files: bytes | None) -> Path:
        return write_bundle(tmp_path / f"{name}.tar.gz", architecture, **files)

    return make
