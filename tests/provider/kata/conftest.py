"""A machine for the provider `kata`: a private containerd, and an owner's file that names it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trio

from kled_provider.kata.machine import KataMachine
from kled_provider.kata.owner.loading import load_owner_file
from kled_provider.kata.provider import kata_provider
from kled_provider.serve import KATA
from tests.kit.oci import busybox_image
from tests.kit.private_containerd import PrivateContainerd, end_loggers, unmount_below

OWNER_FILE = """
state_directory = "{directory}/state"
runtime_directory = "{directory}/run"

[containerd]
address = "{address}"
namespace = "{namespace}"

[handlers.runc]
runtime = "io.containerd.runc.v2"

[handlers.kata]
runtime = "io.containerd.kata.v2"
hypervisor = "clh"

[places.images]
path = "{directory}/images"
uses = ["import", "upload"]
"""


@dataclass(kw_only=True)
class Platform:
    """What the provider's owner has set up. `more` is appended to the owner's file."""

    containerd: PrivateContainerd
    directory: Path
    more: str = ""
    file: Path = field(init=False)

    def __post_init__(self) -> None:
        self.file = self.directory / "kata.toml"
        (self.directory / "images").mkdir()
        busybox_image().save(self.directory / "images/busybox.tar", "kled.test/busybox:1")
        self.write()

    def write(self, more: str = "") -> None:
        """Write the owner's file."""
        text = OWNER_FILE.format(
            directory=self.directory,
            address=self.containerd.address,
            namespace=self.containerd.namespace,
        )
        self.file.write_text(text + more)


@pytest.fixture
def platform(containerd: PrivateContainerd, tmp_path: Path) -> Iterator[Platform]:
    made = Platform(containerd=containerd, directory=tmp_path)
    try:
        yield made
        containerd.clear()
    finally:
        end_loggers(tmp_path / "run")
        unmount_below(tmp_path)


@pytest.fixture
async def kata(host: Any, platform: Platform, tmp_path: Path) -> AsyncIterator[Any]:
    """Terraform with the provider, on that machine."""
    from tests.provider.conftest import open_terraform  # noqa: PLC0415

    directory = tmp_path / "tf"
    directory.mkdir()
    machine = KataMachine(lambda: load_owner_file(str(platform.file)))
    providers = {address: kata_provider(machine) for address in KATA.addresses}
    async with trio.open_nursery() as nursery:
        await nursery.start(machine.serve)
        async with open_terraform(host, directory, providers) as found:
            yield found
        nursery.cancel_scope.cancel()
