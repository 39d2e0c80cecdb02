"""One site with one workspace, shared by the tests that leave both as they found them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.container_site import make_bundle
from tests.kit.site import Site, open_site


@pytest.fixture(scope="session")
def site() -> Iterator[Site]:
    """The real programs, with the workspace `dev` running."""
    with open_site() as opened:
        opened.kled("create", "dev", "--template", "process")
        yield opened


@pytest.fixture
def host() -> str:
    """What `ssh` calls the workspace."""
    return "dev.kled"


@pytest.fixture(scope="session")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The agent's bundle for this machine, made once for all workers of a run."""
    own = tmp_path_factory.getbasetemp()
    return make_bundle((own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "bundle")
