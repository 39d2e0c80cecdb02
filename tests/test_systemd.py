"""The units in systemd/ are what systemd accepts, and say what the programs need."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from kled_agent.config import ENVIRONMENT
from kled_coord.config import ENV_PREFIX, CoordinatorConfig

UNITS = Path(__file__).parents[1] / "systemd"
SERVICES = ("kled-agent.service", "kled-coord.service", "kled-kata.service")
PREFIX = "/opt/kled/bin"


def values(unit: str, name: str) -> list[str]:
    """Every value of a directive, in order."""
    lines = (UNITS / unit).read_text(encoding="utf-8").splitlines()
    return [line.partition("=")[2] for line in lines if line.startswith(f"{name}=")]


@pytest.mark.slow
@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None,
    reason="systemd-analyze is not installed (Debian's package systemd)",
)
@pytest.mark.parametrize("unit", SERVICES)
def test_systemd_accepts_the_unit(unit: str, tmp_path: Path) -> None:
    # It wants the programs to exist: put something in their place.
    text = (UNITS / unit).read_text(encoding="utf-8")
    for name in ("kled-agent", "kled-coord", "terraform-provider-kata"):
        (tmp_path / name).symlink_to("/bin/true")
    (tmp_path / unit).write_text(text.replace(PREFIX, str(tmp_path)), encoding="utf-8")
    if (socket := (UNITS / unit).with_suffix(".socket")).exists():
        shutil.copy(socket, tmp_path)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    ours = [line for line in done.stderr.splitlines() if "kled" in line]
    assert (done.returncode, ours) == (0, [])


@pytest.mark.parametrize("unit", SERVICES)
def test_a_unit_starts_its_program_again(unit: str) -> None:
    program = {"kled-kata.service": "terraform-provider-kata"}.get(
        unit, unit.removesuffix(".service")
    )
    assert values(unit, "ExecStart")[0].startswith(f"{PREFIX}/{program} ")
    assert values(unit, "Restart") == ["always"]
    assert int(values(unit, "LimitNOFILE")[0]) >= 65536


def test_every_variable_in_a_unit_is_a_setting() -> None:
    known = {
        *ENVIRONMENT.values(),
        *(ENV_PREFIX + name.upper() for name in CoordinatorConfig.model_fields),
    }
    used = {value.partition("=")[0] for unit in SERVICES for value in values(unit, "Environment")}
    assert used <= known


def test_what_outlives_a_coordinator_is_left_alone() -> None:
    """The relay process and the agents of kled_process go on when the unit is restarted."""
    assert values("kled-coord.service", "KillMode") == ["process"]
    assert values("kled-coord.service", "PrivateTmp") == []


def test_sessions_of_an_agent_may_do_what_people_do() -> None:
    """What the agent's unit forbids, sudo and package managers in a session would lack."""
    for name in ("NoNewPrivileges", "ProtectSystem", "PrivateTmp", "ProtectHome", "PrivateUsers"):
        assert values("kled-agent.service", name) == [], name


def test_the_agent_is_ready_when_its_coordinator_has_answered() -> None:
    assert values("kled-agent.service", "Type") == ["notify"]
    assert values("kled-agent.service", "TimeoutStartSec") == ["infinity"]


@pytest.mark.parametrize(
    "directive", ["ProtectKernelTunables", "ProtectKernelLogs", "ProtectProc", "RestrictNamespaces"]
)
def test_the_coordinators_unit_leaves_bubblewrap_what_it_needs(directive: str) -> None:
    """A /proc with masks is one the kernel lets no user namespace mount anew."""
    assert values("kled-coord.service", directive) == []


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mask a part of /proc")
def test_a_masked_proc_is_why() -> None:
    confine = "su nobody -s /bin/sh -c 'bwrap --unshare-pid --ro-bind / / --proc /proc true'"
    mask = "mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys && "
    for script, works in ((confine, True), (mask + confine, False)):
        argv = ["unshare", "--mount", "sh", "-c", script]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert (done.returncode == 0) is works, done.stderr
