"""kata_host by the real Terraform, and the same for a person by kled-coord."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kled_provider.kata.host.data import HostData
from kled_provider.kata.host.examine import examine_machine
from kled_provider.kata.host.shims import find_shim, shim_version
from kled_provider.kata.machine import KataMachine
from kled_provider.kata.owner.loading import load_owner_file
from kled_provider.kata.serving.here import clear_here, examine_here
from kled_provider.plugin.resource import Provider
from kled_provider.serve import KATA
from tests.provider.conftest import open_terraform

OWNER = """
[containerd]
address = "{0}/none.sock"
[handlers.vm]
runtime = "{0}/shim"
hypervisor = "clh"
configuration = "clh"
[configurations.clh]
path = "{0}/clh.toml"
"""


@pytest.fixture
def owner(tmp_path: Path) -> Path:
    shim = tmp_path / "shim"
    shim.write_text(
        "#!/bin/sh\necho 'Kata Containers containerd shim (Rust): id: io.containerd.kata.v2, "
        "version: 4.0.0, commit: 1'\n"
    )
    shim.chmod(0o755)
    path = tmp_path / "kata.toml"
    path.write_text(OWNER.format(tmp_path))
    return path


async def test_a_template_reads_what_the_machine_has(
    host: Any, owner: Path, tmp_path: Path, nursery: Any
) -> None:
    machine = KataMachine(lambda: load_owner_file(str(owner)))
    await nursery.start(machine.serve)
    provider = Provider(name="kata", data_sources=(HostData(machine),))
    (tmp_path / "tf").mkdir()
    async with open_terraform(host, tmp_path / "tf", dict.fromkeys(KATA.addresses, provider)) as t:
        t.write('data "kata_host" "here" {}\noutput "o" { value = data.kata_host.here.problems }')
        await t("init")
        await t("apply", "-auto-approve")
        assert "No changes" in await t("plan", "-detailed-exitcode")
        found = t.state()["kata_host.here"]
    values = found["instances"][0]["attributes"]
    assert values["kernel"] == os.uname().release
    assert values["memory"] > 0
    assert values["handlers"] == [
        {
            "name": "vm",
            "runtime": f"{tmp_path}/shim",
            "shim": f"{tmp_path}/shim",
            "hypervisor": "clh",
            "version": "4.0.0",
        }
    ]
    said = {problem["what"]: problem for problem in values["problems"]}
    assert said["containers"]["why"] == (
        f"There is no containerd at {tmp_path}/none.sock: No such file or directory"
    )
    assert said["the handler vm"]["why"] == f"{tmp_path}/clh.toml: there is no such file"
    assert not said["the mem-agent with the handler vm"]["fatal"]


def doctor(owner: Path, provider: str = "kata") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "kled_coord", "doctor", provider]
    environment = {**os.environ, "KLED_KATA_FILE": str(owner)}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


@pytest.mark.slow
def test_a_person_is_told_the_same(owner: Path, tmp_path: Path) -> None:
    done = doctor(owner)
    assert done.returncode == 1
    assert f"ok      kernel: {os.uname().release} (" in done.stdout
    assert f"ok      handler vm: {tmp_path}/shim (Kata 4.0.0)\n" in done.stdout
    assert (
        f"problem containers: There is no containerd at {tmp_path}/none.sock: No such file or "
        "directory\n          apt install containerd, or correct [containerd] in the owner's file\n"
    ) in done.stdout
    assert "limit   the mem-agent with the handler vm: In Kata 4.0.0" in done.stdout


async def test_without_containerd_and_kata_nothing_else_goes_wrong(
    owner: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for anything after the answer, while others begin to ask containerd."""
    text = owner.read_text().partition("[handlers.vm]")[0]
    owner.write_text(f'{text}[handlers.runc]\nruntime = "io.containerd.runc.v2"\n')
    monkeypatch.setenv("KLED_KATA_FILE", str(owner))
    lines = await examine_here()
    assert [line["what"] for line in lines if "no containerd" in line["text"]] == ["containers"]
    await clear_here("w-1")


@pytest.mark.slow
async def test_what_kata_refuses_of_a_handler_s_own_configuration_is_told(
    owner: Path, tmp_path: Path, nursery: Any
) -> None:
    """As of the file that Kata 4.1.0 ships for Firecracker."""
    text = OWNER.replace('"clh"', '"firecracker"').replace("s.clh", "s.firecracker")
    owner.write_text(text.format(tmp_path))
    for name in ("vmm", "kernel", "image"):
        (tmp_path / name).touch()
    (tmp_path / "clh.toml").write_text(
        f"""
[hypervisor.firecracker]
path = "{tmp_path}/vmm"
kernel = "{tmp_path}/kernel"
image = "{tmp_path}/image"
default_memory = 2048
[agent.kata]
dial_timeout_ms = 45000
[runtime]
name = "virt_container"
hypervisor_name = "firecracker"
agent_name = "kata"
"""
    )
    machine = KataMachine(lambda: load_owner_file(str(owner)))
    await nursery.start(machine.serve)
    facts, _ = await examine_machine(machine)
    assert [(p.key, p.sentence) for p in facts.handlers[0].problems] == [
        (
            "reconnect_timeout_ms",
            "reconnect_timeout_ms must not be less than dial_timeout_ms, which is 45000; got 3000.",
        )
    ]


def test_what_it_cannot_look_at_is_one_line(owner: Path, tmp_path: Path) -> None:
    owner.write_text("colour = 1\n")
    done = doctor(owner)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{owner}: colour is not known" in done.stderr
    assert done.stderr.count("\n") == 1
    done = doctor(owner, "no")
    assert (done.returncode, done.stdout) == (2, "")
    assert "there is no provider 'no' here (there are coder, kata, kled)" in done.stderr
    assert doctor(owner, "kled").returncode == 0


def test_a_shim_is_found_as_containerd_finds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shim = tmp_path / "containerd-shim-kata-v2"
    shutil.copy("/bin/true", shim)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_shim("io.containerd.kata.v2") == str(shim)
    assert find_shim(str(shim)) == str(shim)
    assert find_shim("io.containerd.nokata.v2") == find_shim("/no/shim") == ""


async def test_a_shim_that_says_no_version_has_none(tmp_path: Path) -> None:
    assert await shim_version("/bin/true") == await shim_version("/no/shim") == ""
