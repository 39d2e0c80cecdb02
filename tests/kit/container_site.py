"""A site whose templates make containers: the real programs, on a containerd of their own.

Its templates are `containerd` and `kata`.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.kit.cni import PLUGINS, why_not
from tests.kit.kata_shim import CONFIGURATION, RUNTIME, install_double
from tests.kit.oci import busybox_image
from tests.kit.private_containerd import PrivateContainerd, end_loggers, open_containerd
from tests.kit.registry import open_image_server
from tests.kit.site import ROOT, Site, open_site

OWNER_FILE = """
state_directory = "{directory}/state"
runtime_directory = "{directory}/run"
default_handler = "runc"

[containerd]
address = "{address}"
namespace = "{namespace}"

[networks]
plugin_directories = ["{plugins}"]
address_pools = ["10.213.0.0/16"]

[handlers.runc]
runtime = "io.containerd.runc.v2"

[handlers.kata-clh]
runtime = "{runtime}"
hypervisor = "clh"
configuration = "clh"

[configurations.clh]
path = "{directory}/clh.toml"

[agent_bundles]
amd64 = "{bundle}"

[registries."{registry}"]
plain_http = true
"""


@dataclass(kw_only=True)
class ContainerSite:
    """A site, its containerd, and the name of an image that it can pull."""

    site: Site
    containerd: PrivateContainerd
    image: str


def make_bundle(directory: Path) -> Path:
    """Make the agent's bundle of this tree in `directory`, once for all processes that ask.

    KLED_TEST_BUNDLE names one that is made already.
    """
    if named := os.environ.get("KLED_TEST_BUNDLE"):
        return Path(named)
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not list(directory.glob("*.tar.gz")):
            # What it prints is not for a standard output that may be a report's.
            words = [str(ROOT / "scripts/build-agent-bundle"), "--output", str(directory)]
            subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    (made,) = directory.glob("*.tar.gz")
    return made


def unpack_bundle(packed: Path, directory: Path) -> Path:
    """Unpack a bundle below `directory`; gives where."""
    directory.chmod(0o755)
    with tarfile.open(packed) as tar:
        tar.extractall(directory)
    return directory / "kled-agent"


@contextmanager
def open_container_site(bundle: Path) -> Iterator[ContainerSite]:
    """Run it as long as the context lasts; nothing of it stays."""
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
                namespace=containerd.namespace,
                plugins=PLUGINS,
                bundle=bundle,
                registry=registry.address,
                runtime=RUNTIME,
            )
        )
        # Kata's shim is a double: the workspace's virtual machine is a container of runc's.
        install_double(Path(name) / "bin", Path(name) / "vm")
        (directory / "clh.toml").write_text(CONFIGURATION)
        settings = {"KLED_COORD_HOST": "0.0.0.0", "KLED_KATA_FILE": str(file)}
        try:
            with open_site(
                template=ROOT / "templates/containerd",
                name="containerd",
                settings=settings,
                access_url=f"http://{address}:{{port}}",
            ) as site:
                site.kled("template", "push", ROOT / "templates/kata", "--name", "kata")
                image = f"{registry.address}/kled/busybox:1"
                yield ContainerSite(site=site, containerd=containerd, image=image)
        finally:
            end_loggers(directory / "run")


def machine_address() -> str:
    """An address of this machine that containers reach too."""
    done = subprocess.run(
        ["ip", "-4", "-o", "route", "get", "192.0.2.1"], capture_output=True, text=True, check=False
    )
    words = done.stdout.split()
    if "src" not in words:
        pytest.skip("this machine has no address but its loopback")
    return words[words.index("src") + 1]
