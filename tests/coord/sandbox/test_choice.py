"""Whether a sandbox is used, and what a real bubblewrap lets a program do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kled_coord.config import CoordinatorConfig
from kled_coord.sandbox.choice import Sandbox, SandboxChoice
from kled_wire.errors import ConfigError
from tests.kit.programs import need


def program(path: Path, script: str) -> None:
    path.mkdir(exist_ok=True)
    (path / "bwrap").write_text(f"#!/bin/sh\n{script}\n")
    (path / "bwrap").chmod(0o755)


async def test_off_asks_nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program(tmp_path / "bin", "exit 0")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    choice = await SandboxChoice(CoordinatorConfig(sandbox="off")).make()
    assert choice.sandbox is None
    assert choice.describe() == 'none: sandbox = "off"'


async def test_without_bubblewrap_auto_goes_on_and_says_why(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    choice = await SandboxChoice(CoordinatorConfig(sandbox="auto")).make()
    assert choice.sandbox is None
    assert "no bwrap on PATH" in choice.reason
    assert "apt install bubblewrap" in choice.reason


async def test_one_that_does_not_work_is_not_used_and_is_an_error_where_it_is_required(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program(tmp_path / "bin", "echo 'bwrap: setting up uid map: Permission denied' >&2; exit 1")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    choice = await SandboxChoice(CoordinatorConfig(sandbox="auto")).make()
    assert choice.describe().startswith("none: bwrap: setting up uid map: Permission denied")
    with pytest.raises(ConfigError, match="uid map: Permission denied") as caught:
        await SandboxChoice(CoordinatorConfig(sandbox="bubblewrap")).make()
    assert caught.value.code == "sandbox_unusable"


async def test_it_is_decided_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program(tmp_path / "bin", f"echo asked >> {tmp_path}/log")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    choice = SandboxChoice(CoordinatorConfig(sandbox="auto"))
    assert (await choice.make()).describe() == "bubblewrap"
    assert await choice.make() is await choice.make()
    assert (tmp_path / "log").read_text() == "asked\n"


@pytest.fixture
def sandbox(tmp_path: Path) -> Sandbox:
    """A sandbox that hides `data` below a directory which the owner has shown."""
    found = need("bwrap")
    shown = tmp_path / "shown"
    (shown / "data").mkdir(parents=True)
    (shown / "data/sealing.key").write_text("secret")
    (shown / "mirror").write_text("readable")
    return Sandbox(program=found, shown=[shown], hidden=[shown / "data"])


async def run(sandbox: Sandbox, script: str, directory: Path) -> str:
    directory.mkdir(exist_ok=True)
    argv = sandbox.confine(
        ("/bin/sh", "-c", script),
        await sandbox.look(),
        directory=directory,
        writable={directory: directory},
    )
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30)
    return done.stdout


@pytest.mark.slow
async def test_a_confined_program_sees_its_directory_and_the_system_only(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    shown, mine = tmp_path / "shown", tmp_path / "mine"
    (tmp_path / "other").mkdir()
    script = f"""
    cat {shown}/mirror; echo
    cat {shown}/data/sealing.key {tmp_path}/other/x 2>/dev/null
    ls {tmp_path}
    echo x > {mine}/written && echo wrote
    (echo x > {shown}/mirror) 2>/dev/null || echo read-only
    (echo x > /etc/kled-test) 2>/dev/null || echo read-only
    {sys.executable} -c 'import kled_agent, kled_wire; print("python")'
    """
    found = (await run(sandbox, script, mine)).split()
    assert found == ["readable", "mine", "shown", "wrote", "read-only", "read-only", "python"]
    assert (mine / "written").read_text() == "x\n"


@pytest.mark.slow
async def test_all_of_the_machine_may_be_shown(tmp_path: Path) -> None:
    secret = tmp_path / "sealing.key"
    secret.write_text("secret")
    sandbox = Sandbox(program=need("bwrap"), shown=[Path("/")], hidden=[secret])
    script = f"cat {secret} 2>/dev/null; [ -e /proc/{os.getpid()}/environ ] || echo alone"
    assert await run(sandbox, script, tmp_path / "mine") == "alone\n"


@pytest.mark.slow
async def test_what_was_to_be_hidden_may_go_meanwhile(tmp_path: Path) -> None:
    """An editor's file below /etc, say: a run looks once, and may take an hour."""
    (tmp_path / "shown/directory").mkdir(parents=True)
    gone = tmp_path / "shown/file"
    gone.touch()
    sandbox = Sandbox(
        program=need("bwrap"),
        shown=[tmp_path / "shown"],
        hidden=[gone, tmp_path / "shown/directory"],
    )
    view = await sandbox.look()
    gone.unlink()
    (tmp_path / "shown/directory").rmdir()
    argv = sandbox.confine(("echo", "done"), view, directory=Path("/"))
    said = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30)
    assert said.stdout == "done\n", said.stderr


@pytest.mark.slow
async def test_a_confined_program_sees_no_process_but_its_own_and_writes_no_kernel_setting(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    """As root without a capability it could: then the kernel starts a program of its choice."""
    before = Path("/proc/sys/kernel/core_pattern").read_text()
    script = f"""
    [ -e /proc/{os.getpid()}/environ ] || echo alone
    kill -0 {os.getpid()} 2>/dev/null || echo unreachable
    (cat /proc/sys/kernel/core_pattern > /proc/sys/kernel/core_pattern) 2>/dev/null || echo refused
    grep CapEff /proc/self/status
    """
    found = (await run(sandbox, script, tmp_path / "mine")).split()
    assert found == ["alone", "unreachable", "refused", "CapEff:", "0" * 16]
    assert Path("/proc/sys/kernel/core_pattern").read_text() == before


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="needs a file that only root may read")
async def test_what_others_may_not_read_below_etc_is_hidden_from_root_too(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    found = await run(sandbox, "cat /etc/shadow || echo refused", tmp_path / "mine")
    assert found == "refused\n"
