"""kata_runtime_config with the real Terraform: plan, apply, drift, import, and what is refused."""

from __future__ import annotations

import json
import stat
import tomllib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kled_provider.kata.machine import KataMachine
from kled_provider.kata.owner.loading import load_owner_file
from kled_provider.kata.runtime_config.resource import RuntimeConfigResource
from kled_provider.plugin.resource import Provider
from kled_provider.serve import KATA
from tests.provider.conftest import Terraform, open_terraform

BASE = """
# as the shipped file for clh, shortened
[hypervisor.clh]
path = "{0}/files/clh"
kernel = "{0}/files/vmlinux"
image = "{0}/files/image"
shared_fs = "virtio-fs"
virtio_fs_daemon = "{0}/files/virtiofsd"
virtio_fs_extra_args = ["--thread-pool-size=1"]
kernel_params = "quiet"
default_memory = 2048
enable_annotations = ["kernel_params"]
[hypervisor.qemu]
path = "{0}/files/qemu"
[agent.kata]
[agent.kata.mem_agent]
mem_agent_enable = false
compact_order = 9
[runtime]
name = "virt_container"
hypervisor_name = "clh"
agent_name = "kata"
static_sandbox_resource_mgmt = true
"""
OWNER = """
state_directory = "{0}/state"
[configurations.clh]
path = "{0}/base/configuration.toml"
[configurations.shared]
path = "{0}/shared/configuration.toml"
drop_ins = true
[configurations.gone]
path = "{0}/gone.toml"
[extra_toml]
quiet = "[runtime]\\nenable_debug = false\\n"
[allowed.hypervisor]
virtio_fs_extra_args = ["--thread-pool-size=4"]
kernel = ["{0}/files/vmlinux", "{0}/files/no"]
[allowed.hypervisor.guest_extension_images]
path = ["{0}/files/image"]
"""
SMALL = """
resource "kata_runtime_config" "rs" {
  name = "dev"
  base = "clh"
  hypervisor {
    kind          = "clh"
    default_vcpus = 0.1
    BODY
  }
}
"""


@dataclass(kw_only=True)
class Kata:
    """Terraform with the one resource, and the machine that it stands on."""

    terraform: Terraform
    directory: Path

    async def apply(self, text: str) -> None:
        self.terraform.write(text)
        await self.terraform("init")
        await self.terraform("apply", "-auto-approve")

    async def plan(self, *more: str, code: int = 0) -> str:
        """0: nothing to do; 2: something; 1: refused."""
        return await self.terraform("plan", "-detailed-exitcode", "-no-color", *more, code=code)

    async def refused(self, body: str) -> str:
        text = body if "resource" in body else SMALL.replace("BODY", body)
        self.terraform.write(text.replace("BODY", ""))
        await self.terraform("init")
        lines = (await self.plan(code=1)).replace("│", " ").replace("\n", " ").split()
        return " ".join(lines)

    def state(self) -> dict[str, Any]:
        found = self.terraform.attributes("kata_runtime_config.rs")
        assert isinstance(found, dict)
        return found

    @property
    def file(self) -> Path:
        return self.directory / "state/configurations/w-1/dev/configuration.toml"

    def written(self) -> dict[str, Any]:
        return tomllib.loads(self.file.read_text())


@pytest.fixture
async def kata(host: Any, tmp_path: Path) -> AsyncIterator[Kata]:
    for name in ("base", "shared", "files", "tf"):
        (tmp_path / name).mkdir()
    for name in ("clh", "vmlinux", "image", "virtiofsd", "qemu"):
        (tmp_path / "files" / name).touch()
    for name in ("base", "shared"):
        (tmp_path / name / "configuration.toml").write_text(BASE.format(tmp_path))
    owner = tmp_path / "kata.toml"
    owner.write_text(OWNER.format(tmp_path))
    machine = KataMachine(lambda: load_owner_file(str(owner)))
    provider = Provider(name="kata", resources=(RuntimeConfigResource(machine),))
    async with open_terraform(host, tmp_path / "tf", dict.fromkeys(KATA.addresses, provider)) as t:
        yield Kata(terraform=t, directory=tmp_path)


EVERYTHING = """
resource "terraform_data" "known_late" { input = "clh" }
resource "kata_runtime_config" "rs" {
  name       = "dev"
  base       = terraform_data.known_late.output
  extra_toml = ["quiet"]
  hypervisor {
    kind                       = "clh"
    default_vcpus              = 0.1
    default_memory             = 4096
    reclaim_guest_freed_memory = true
    enable_guest_swap          = true
    virtio_fs_extra_args       = ["--thread-pool-size=4"]
    enable_annotations         = []
    factory { enable_template = false }
    guest_extension_images {
      name = "x"
      path = "DIRECTORY/files/image"
    }
  }
  agent {
    kernel_modules = ["fuse"]
    mem_agent {
      enable              = true
      memcg_swap          = true
      memcg_period_secs   = 60
      compact_period_secs = 120
    }
  }
  runtime {
    sandbox_cgroup_only = true
    shared_mounts {
      name     = "s"
      src_ctr  = "a"
      src_path = "/a"
      dst_ctr  = "b"
      dst_path = "/b"
    }
  }
}
output "path" { value = kata_runtime_config.rs.path }
"""


async def test_everything_is_applied_and_planned_empty(kata: Kata) -> None:
    """Unknown at plan, each kind of value; the plan after the apply has nothing to do."""
    await kata.apply(EVERYTHING.replace("DIRECTORY", str(kata.directory)))
    await kata.plan()
    assert kata.written() == {
        "hypervisor": {
            "clh": {
                "path": f"{kata.directory}/files/clh",
                "kernel": f"{kata.directory}/files/vmlinux",
                "image": f"{kata.directory}/files/image",
                "shared_fs": "virtio-fs",
                "virtio_fs_daemon": f"{kata.directory}/files/virtiofsd",
                "virtio_fs_extra_args": ["--thread-pool-size=4"],
                # In the base's table compact_order comes too early to count.
                "kernel_params": "quiet agent.mem_agent_compact_order=9 "
                "agent.mem_agent_compact_period_secs=120",
                "default_memory": 4096,
                "enable_annotations": [],
                "default_vcpus": 0.1,
                "reclaim_guest_freed_memory": True,
                "enable_guest_swap": True,
                "factory": {"enable_template": False},
                "guest_extension_images": [{"name": "x", "path": f"{kata.directory}/files/image"}],
            }
        },
        "agent": {
            "kata": {
                "kernel_modules": ["fuse"],
                "mem_agent": {
                    "enable": True,
                    "compact_order": 9,
                    "memcg_swap": True,
                    "memcg_period_secs": 60,
                    "compact_period_secs": 120,
                },
            }
        },
        "runtime": {
            "name": "virt_container",
            "hypervisor_name": "clh",
            "agent_name": "kata",
            "static_sandbox_resource_mgmt": True,
            "enable_debug": False,
            "sandbox_cgroup_only": True,
            "shared_mounts": [
                {"name": "s", "src_ctr": "a", "src_path": "/a", "dst_ctr": "b", "dst_path": "/b"}
            ],
        },
    }
    state = kata.state()
    assert state["path"] == str(kata.file)
    assert tomllib.loads(state["rendered"]) == kata.written()
    assert stat.S_IMODE(kata.file.stat().st_mode) == 0o644
    await kata.terraform("state", "rm", "kata_runtime_config.rs")
    await kata.terraform("import", "kata_runtime_config.rs", "dev")
    await kata.plan()
    await kata.terraform("destroy", "-auto-approve")
    assert not kata.file.parent.exists()


@pytest.mark.slow
async def test_drift_is_planned_and_undone(kata: Kata) -> None:
    await kata.apply(SMALL.replace("BODY", ""))
    sound = kata.file.read_bytes()
    for spoil in (
        lambda: kata.file.write_bytes(sound.replace(b"0.1", b"0.9")),
        lambda: kata.file.chmod(0o666),
        kata.file.unlink,
        lambda: replace_by_link(kata.file),
    ):
        spoil()
        await kata.plan(code=2)
        await kata.terraform("apply", "-auto-approve")
        await kata.plan()
        assert not kata.file.is_symlink()
        assert kata.file.read_bytes().partition(b"\n")[2] == sound.partition(b"\n")[2]
        assert stat.S_IMODE(kata.file.stat().st_mode) == 0o644


def replace_by_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/hostname")


async def test_a_base_that_changes_is_planned(kata: Kata) -> None:
    await kata.apply(SMALL.replace("BODY", ""))
    drop_in = kata.directory / "base/config.d/30-more.toml"
    drop_in.parent.mkdir()
    drop_in.write_text("[hypervisor.clh]\ndefault_memory = 8192\n")
    before = kata.state()["sha256"]
    await kata.plan(code=2)
    await kata.terraform("apply", "-auto-approve")
    assert kata.written()["hypervisor"]["clh"]["default_memory"] == 8192
    assert kata.state()["sha256"] != before
    await kata.plan()


async def test_a_drop_in_stands_beside_its_base(kata: Kata) -> None:
    text = SMALL.replace('base = "clh"', 'base = "shared"\n  form = "drop-in"')
    text = text.replace("BODY", "reclaim_guest_freed_memory = true")
    await kata.apply(text + "\n" + "output p { value = kata_runtime_config.rs.path }")
    place = kata.directory / "shared/config.d/60-kled-w-1-dev.toml"
    assert tomllib.loads(place.read_text()) == {
        "hypervisor": {"clh": {"default_vcpus": 0.1, "reclaim_guest_freed_memory": True}},
        "runtime": {"name": "virt_container", "hypervisor_name": "clh", "agent_name": "kata"},
    }
    assert kata.state()["path"] == f"{kata.directory}/shared/configuration.toml"
    assert tomllib.loads(kata.state()["rendered"])["hypervisor"]["clh"]["default_memory"] == 2048
    await kata.plan()
    await kata.terraform("state", "rm", "kata_runtime_config.rs")
    await kata.terraform("import", "kata_runtime_config.rs", "dev")
    await kata.plan()
    await kata.terraform("destroy", "-auto-approve")
    assert not place.exists()
    assert (kata.directory / "shared/configuration.toml").exists()


REFUSED = {
    "defualt_vcpus = 1": 'An argument named "defualt_vcpus" is not expected here.',
    "default_memory = 32": (
        "Invalid default_memory with kata_runtime_config.rs, on main.tf line 13, in resource "
        '"kata_runtime_config" "rs": 13: default_memory = 32 clh needs at least 64 MiB; got 32.'
    ),
    "network_queues = 300": "Use a whole number, 1 to 256; got 300.",
    "memory_slots = 0": "Use a whole number, 1 to 4294967295; got 0.",
    'path = "/bin/sh"': (
        "path may mean root on this machine: only values that its owner lists in "
        "[allowed.hypervisor] are taken. None is listed."
    ),
    'virtio_fs_extra_args = ["--thread-pool-size=4", "-o"]': (
        "virtio_fs_extra_args may mean root on this machine: only values that its owner lists in "
        "[allowed.hypervisor] are taken. Listed: --thread-pool-size=4."
    ),
    "disable_seccomp = true": (
        "disable_seccomp may mean root on this machine: only values that its owner lists in "
        "[allowed.hypervisor] are taken. None is listed."
    ),
    'factory { template_path = "/x" }': (
        "template_path may mean root on this machine: only values that its owner lists in "
        "[allowed.hypervisor.factory] are taken. None is listed."
    ),
    'jailer_path = "/x"': "Kata refuses a configuration that has a jailer for clh.",
    SMALL.replace('base = "clh"', 'base = "no"'): (
        "The owner's file of this machine has clh, gone, shared; got 'no'."
    ),
    SMALL.replace('base = "clh"', 'base = "gone"'): (
        "gone.toml: there is no such file. Is Kata installed? docs/kata.md says how. Kata 4.0.0 "
        "lacks Dragonball's file."
    ),
    SMALL.replace('base = "clh"', 'base = "clh"\n  form = "drop-in"'): (
        "It would change the base for everything that uses it: this machine's owner allows that by "
        "`drop_ins = true` in its table of [configurations]."
    ),
    SMALL.replace('base = "clh"', 'base = "clh"\n  extra_toml = ["loud"]'): (
        "The owner's file of this machine has quiet; got 'loud'."
    ),
    SMALL.replace('base = "clh"', ""): (
        "The configuration names no guest kernel: start from a base that has one."
    ),
    SMALL.replace("hypervisor {", "runtime {").replace('kind          = "clh"', ""): (
        "An argument named"
    ),
    'resource "kata_runtime_config" "rs" { name = "../x" }': (
        "Use up to 63 lower-case letters, digits and hyphens within; got '../x'."
    ),
    'resource "kata_runtime_config" "rs" { name = "x" }': (
        "Say at least which hypervisor runs: hypervisor { kind = ... }."
    ),
}


@pytest.mark.parametrize("body", REFUSED, ids=lambda body: " ".join(body.split())[:70])
async def test_what_kata_or_the_owner_would_refuse_is_refused_at_plan(
    kata: Kata, body: str
) -> None:
    assert REFUSED[body] in await kata.refused(body)
    assert not (kata.directory / "state").exists()


async def test_a_missing_file_is_told_at_its_key(kata: Kata) -> None:
    (kata.directory / "files/image").unlink()
    told = await kata.refused(f'kernel = "{kata.directory}/files/no"')
    for key, name in (("kernel", "no"), ("image", "image")):
        assert f"Error: Invalid {key}" in told
        words = (
            f"There is no '{kata.directory}/files/{name}' on this machine, and Kata starts no VM"
        )
        assert words.replace(" ", "") in told.replace(" ", "")


async def test_the_mem_agent_of_an_older_kata_is_refused(kata: Kata) -> None:
    shim = kata.directory / "shim"
    shim.write_text("#!/bin/sh\necho 'Kata Containers shim, version: 4.0.0, commit: 1'\n")
    shim.chmod(0o755)
    with (kata.directory / "kata.toml").open("a") as owner:
        owner.write(f"[handlers.vm]\nruntime = '{shim}'\nhypervisor = 'clh'\n")
    body = SMALL.replace("BODY", "reclaim_guest_freed_memory = true")
    told = await kata.refused(
        body.replace("\n}\n", "\nagent {\nmem_agent {\nenable=true\n}\n}\n}\n")
    )
    words = "In Kata 4.0.0 the mem-agent may end the guest's agent at its start: use 4.1.0."
    assert words in told
    assert "on main.tf line 17" in told


async def test_a_directory_that_is_a_link_is_not_followed(kata: Kata) -> None:
    outside = kata.directory / "outside"
    outside.mkdir()
    place = kata.directory / "state/configurations/w-1"
    place.mkdir(parents=True)
    (place / "dev").symlink_to(outside)
    kata.terraform.write(SMALL.replace("BODY", ""))
    await kata.terraform("init")
    output = await kata.terraform("apply", "-auto-approve", code=1)
    assert "The configuration cannot be written" in output
    assert 'name = "dev"' in " ".join(output.split())
    assert list(outside.iterdir()) == []


async def test_the_schema_is_what_terraform_reads(kata: Kata) -> None:
    kata.terraform.write(SMALL.replace("BODY", ""))
    await kata.terraform("init")
    told = json.loads(await kata.terraform("providers", "schema", "-json"))
    (found,) = told["provider_schemas"].values()
    block = found["resource_schemas"]["kata_runtime_config"]["block"]
    assert set(block["block_types"]) == {"hypervisor", "agent", "runtime"}
    inner = block["block_types"]["agent"]["block"]["block_types"]["mem_agent"]["block"]
    assert "compact_force_times" in inner["attributes"]
