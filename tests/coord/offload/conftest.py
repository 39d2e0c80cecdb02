"""A certificate authority."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme

from tests.coord.offload.authority import Authority


@pytest.fixture(scope="session")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def authority(tmp_path: Path, ca: trustme.CA) -> Authority:
    return Authority(tmp_path, ca)
