"""templates/containerd through the coordinator, on a private containerd with runc."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.container_site import ContainerSite, open_container_site, unpack_bundle

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root makes containers"),
    pytest.mark.timeout(300),
]


@pytest.fixture(scope="module")
def made(packed: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContainerSite]:
    bundle = unpack_bundle(packed, tmp_path_factory.mktemp("bundle"))
    with open_container_site(bundle) as opened:
        yield opened


def test_a_workspace_is_a_container_whose_home_stays(made: ContainerSite) -> None:
    site = made.site
    site.kled("create", "box", "--template", "containerd", "--param", f"image={made.image}")
    ran = site.kled("exec", "box", "--", "sh", "-c", "id -un; hostname; echo kept >~/file")
    assert ran.stdout == "root\nbox\n"
    (container,) = made.containerd.names("containers")
    site.kled("workspace", "agent-token", "box", "--output-file", site.root / "token")
    token = (site.root / "token").read_text().rpartition("=")[2].strip()
    assert token
    assert token not in made.containerd.ctr("containers", "info", container).stdout
    assert "link_open" in site.kled("logs", "box", "--container", "workspace").stdout
    site.kled("stop", "box")
    assert made.containerd.names("containers") == []
    site.kled("start", "box")
    assert site.kled("exec", "box", "--", "cat", "file").stdout == "kept\n"
    site.kled("delete", "box", "--yes")
    assert made.containerd.names("containers") == []
