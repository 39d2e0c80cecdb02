"""templates/containerd and kata through the coordinator, on a private containerd with runc."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.container_site import ContainerSite, open_container_site, unpack_bundle
from tests.kit.site import BIN, ROOT

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root makes containers"),
    pytest.mark.timeout(300),
]


DEAD = """
data "kled_workspace" "me" {}
resource "kled_agent" "main" { name = "main" }
resource "kata_image" "base" {
  name            = "IMAGE"
  keep_on_destroy = true
}
resource "kata_container" "dead" {
  count   = data.kled_workspace.me.start_count
  name    = "dead"
  image   = kata_image.base.id
  command = ["/bin/sh", "-c", "COMMAND"]
  agent {
    id    = kled_agent.main.id
    token = kled_agent.main.token
    MORE
  }
}
"""


@pytest.fixture(scope="module")
def made(packed: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContainerSite]:
    bundle = unpack_bundle(packed, tmp_path_factory.mktemp("bundle"))
    with open_container_site(bundle) as opened:
        yield opened


@pytest.mark.parametrize("template", ["containerd", "kata"])
def test_a_workspace_is_a_container_whose_home_stays(made: ContainerSite, template: str) -> None:
    site = made.site
    site.kled("create", "box", "--template", template, "--param", f"image={made.image}")
    ran = site.kled("exec", "box", "--", "sh", "-c", "id -un; hostname; echo kept >~/file")
    assert ran.stdout == "root\nbox\n"
    (container,) = made.containerd.names("containers")
    doubles = list((made.containerd.directory / "vm").glob("*/sandbox.json"))
    assert len(doubles) == int(template == "kata"), "it was Kata's shim that made it"
    site.kled("workspace", "agent-token", "box", "--output-file", site.root / "token")
    token = (site.root / "token").read_text().rpartition("=")[2].strip()
    assert token
    assert token not in made.containerd.ctr("containers", "info", container).stdout
    assert "link_open" in site.kled("logs", "box", "--container", "workspace").stdout
    words = (BIN / "kled", "logs", "box", "--container", "workspace", "--follow")
    with site.running(*words, stdout=subprocess.PIPE) as following:
        assert following.stdout is not None
        assert any(b"link_open" in line for line in following.stdout)
        site.kled("stop", "box")
        assert following.wait(30) == 0, "it ends with the container"
    assert made.containerd.names("containers") == []
    site.kled("start", "box")
    assert site.kled("exec", "box", "--", "cat", "file").stdout == "kept\n"
    site.kled("delete", "box", "--yes")
    assert made.containerd.names("containers") == []


@pytest.mark.parametrize(
    ("command", "more", "said"),
    [
        (
            "echo there is no database; exit 3",
            "",
            "container dead ended with exit code 3; it said last: there is no database",
        ),
        (
            "exec sleep 1000",
            'user = "ghost"',
            "beside the command of container dead, 3 times in a row, last with exit code 2;",
        ),
    ],
    ids=["the container", "the agent in it"],
)
def test_what_ends_at_once_ends_the_wait_and_it_is_said_why(
    made: ContainerSite, tmp_path: Path, command: str, more: str, said: str
) -> None:
    required = (ROOT / "templates/containerd/main.tf").read_text().partition("\n}\n")[0]
    text = DEAD.replace("IMAGE", made.image).replace("COMMAND", command).replace("MORE", more)
    (tmp_path / "main.tf").write_text(f"{required}\n}}\n{text}")
    made.site.kled("template", "push", tmp_path, "--name", "dead")
    done = made.site.kled("create", "dead", "--template", "dead", check=False)
    assert done.returncode == 7
    assert said in " ".join(done.stderr.split())
    made.site.kled("delete", "dead", "--yes")
