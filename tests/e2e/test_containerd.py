"""templates/containerd through the coordinator, on a private containerd with runc."""

from __future__ import annotations

import os
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.kit.cni import PLUGINS, why_not
from tests.kit.oci import busybox_image
from tests.kit.private_containerd import PrivateContainerd, open_containerd
from tests.kit.registry import open_image_server
from tests.kit.site import ROOT, Site, open_site

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root makes containers"),
    pytest.mark.timeout(300),
]
OWNER_FILE = """
state_directory = "{directory}/state"
runtime_directory = "{directory}/run"
default_handler = "runc"

[containerd]
address = "{address}"

[networks]
plugin_directories = ["{plugins}"]
address_pools = ["10.213.0.0/16"]

[handlers.runc]
runtime = "io.containerd.runc.v2"

[handlers.kata]
runtime = "io.containerd.kata.v2"
hypervisor = "clh"

[agent_bundles]
amd64 = "{bundle}"

[registries."{registry}"]
plain_http = true
"""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The agent's bundle of this tree, unpacked; KLED_TEST_BUNDLE names one that is made."""
    directory = tmp_path_factory.mktemp("bundle")
    directory.chmod(0o755)
    made = os.environ.get("KLED_TEST_BUNDLE")
    if made is None:
        subprocess.run([ROOT / "scripts/build-agent-bundle", "--output", directory], check=True)
        (made,) = map(str, directory.glob("*.tar.gz"))
    with tarfile.open(made) as tar:
        tar.extractall(directory, filter="fully_trusted")
    return directory / "kled-agent"


@dataclass(kw_only=True)
class Made:
    """A site, its containerd, and the image's name."""

    site: Site
    containerd: PrivateContainerd
    image: str


@pytest.fixture(scope="module")
def made(bundle: Path) -> Iterator[Made]:
    if reason := why_not():
        pytest.skip(reason)
    address = machine_address()
    with (
        tempfile.TemporaryDirectory(prefix="kc-") as name,
        open_containerd(Path(name)) as containerd,
        open_image_server(images={"kled/busybox:1": busybox_image()}) as registry,
    ):
        directory = Path(name) / "kled"
        directory.mkdir()
        file = directory / "kata.toml"
        file.write_text(
            OWNER_FILE.format(
                directory=directory,
                address=containerd.address,
                plugins=PLUGINS,
                bundle=bundle,
                registry=registry.address,
            )
        )
        with open_site(
            template=ROOT / "templates/containerd",
            name="containerd",
            settings={"KLED_COORD_HOST": "0.0.0.0", "KLED_KATA_FILE": str(file)},
            access_url=f"http://{address}:{{port}}",
        ) as site:
            yield Made(site=site, containerd=containerd, image=f"{registry.address}/kled/busybox:1")


def machine_address() -> str:
    """An address of this machine that containers reach too."""
    done = subprocess.run(
        ["ip", "-4", "-o", "route", "get", "192.0.2.1"], capture_output=True, text=True, check=False
    )
    words = done.stdout.split()
    if "src" not in words:
        pytest.skip("this machine has no address but its loopback")
    return words[words.index("src") + 1]


def test_a_workspace_is_a_container_whose_home_stays(made: Made) -> None:
    site = made.site
    site.kled("create", "box", "--template", "containerd", "--param", f"image={made.image}")
    assert (
        "root\n" in site.kled("exec", "box", "--", "sh", "-c", "id -un; echo kept >~/file").stdout
    )
    assert site.kled("exec", "box", "--", "hostname").stdout == "box\n"
    assert len(made.containerd.names("containers")) == 1
    assert "link_open" in site.kled("logs", "box", "--container", "workspace").stdout
    site.kled("stop", "box")
    assert made.containerd.names("containers") == []
    site.kled("start", "box")
    assert site.kled("exec", "box", "--", "cat", "file").stdout == "kept\n"
    site.kled("delete", "box", "--yes")
    assert made.containerd.names("containers") == []
