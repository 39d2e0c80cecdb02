"""templates/kata is planned by the real Terraform for each hypervisor that it offers."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import trio

from kled_provider.kata.machine import KataMachine
from kled_provider.kata.owner.loading import load_owner_file
from kled_provider.kata.provider import kata_provider
from kled_provider.kled.provider import kled_provider
from kled_provider.serve import KATA, KLED
from tests.provider.conftest import FakeHost, open_terraform

pytestmark = pytest.mark.slow
TEMPLATE = Path(__file__).parents[3] / "templates/kata"
CONFIGURATION = """
[hypervisor.{kind}]
path = "{files}/hypervisor"
kernel = "{files}/kernel"
image = "{files}/image"
default_memory = 2048
shared_fs = "virtio-fs"
virtio_fs_daemon = "{files}/hypervisor"
[agent.kata]
[runtime]
name = "virt_container"
hypervisor_name = "{kind}"
agent_name = "kata"
static_sandbox_resource_mgmt = true
"""
OWNER = """
[handlers.kata-{kind}]
runtime = "io.containerd.kata.v2"
hypervisor = "{kind}"
configuration = "{kind}"
[configurations.{kind}]
path = "{directory}/{kind}.toml"
"""


@pytest.fixture
def owner_file(tmp_path: Path) -> Path:
    files = tmp_path / "files"
    files.mkdir()
    for name in ("hypervisor", "kernel", "image"):
        (files / name).touch(0o755)
    text = f'state_directory = "{tmp_path}/state"\nruntime_directory = "{tmp_path}/run"\n'
    for kind in ("clh", "qemu", "dragonball"):
        configuration = CONFIGURATION.format(kind=kind, files=files)
        if kind == "dragonball":  # which runs within the shim
            configuration = configuration.replace(f'virtio_fs_daemon = "{files}/hypervisor"\n', "")
            configuration = configuration.replace(f'path = "{files}/hypervisor"\n', "")
            configuration = configuration.replace('"virtio-fs"', '"inline-virtio-fs"')
        (tmp_path / f"{kind}.toml").write_text(configuration)
        text += OWNER.format(kind=kind, directory=tmp_path)
    made = tmp_path / "kata.toml"
    made.write_text(text)
    return made


@pytest.mark.parametrize("kind", ["clh", "qemu", "dragonball"])
async def test_every_hypervisor_is_planned(
    host: FakeHost, owner_file: Path, tmp_path: Path, kind: str
) -> None:
    host.parameters = {"hypervisor": kind}
    machine = KataMachine(lambda: load_owner_file(str(owner_file)))
    providers: dict[str, Any] = {address: kled_provider() for address in KLED.addresses}
    providers |= {address: kata_provider(machine) for address in KATA.addresses}
    directory = tmp_path / "tf"
    shutil.copytree(TEMPLATE, directory)
    async with trio.open_nursery() as nursery:
        await nursery.start(machine.serve)
        async with open_terraform(host, directory, providers) as terraform:
            await terraform("init")
            said = await terraform("plan", "-no-color")
        nursery.cancel_scope.cancel()
    assert "6 to add" in said
    assert f'handler       = "kata-{kind}"' in said
    assert ("enable_guest_swap" in said) == (kind != "qemu")
