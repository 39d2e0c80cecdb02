"""`kled up` as a service: the unit, the launchd agent, and the command with a fake systemctl."""

from __future__ import annotations

import plistlib
import shutil
import subprocess
from pathlib import Path

import pytest

from kled_client.forward.service import UserService, plan_service, service_name
from tests.client.conftest import Kled, one_line

DIRECTORY = Path("/home/a b/100%")
ENV = {"KLED_PROFILE": 'w"$k', "KLED_TOKEN": "secret", "XDG_CONFIG_HOME": "relative"}


def service(directory: Path = DIRECTORY, *, macos: bool = False) -> UserService:
    return plan_service(
        directory, ["/usr/bin/py thon", "up"], ENV, home=Path("/home/a"), macos=macos
    )


def test_a_unit_quotes_what_systemd_would_expand() -> None:
    made = service()
    assert made.path.parent == Path("/home/a/.config/systemd/user")
    lines = made.content.decode().splitlines()
    assert "WorkingDirectory=/home/a b/100%%" in lines
    assert 'ExecStart="/usr/bin/py thon" "up"' in lines
    assert 'Environment="KLED_PROFILE=w\\"$k"' in lines
    assert b"secret" not in made.content


@pytest.mark.slow
@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    made = plan_service(tmp_path, ["/bin/true", "up"], ENV, home=tmp_path, macos=False)
    unit = tmp_path / made.name
    unit.write_bytes(made.content)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--user", "--man=no", unit],
        capture_output=True,
        text=True,
        check=False,
        env={"XDG_RUNTIME_DIR": str(tmp_path), "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
    )
    assert unit.name not in done.stderr, done.stderr


def test_a_launchd_agent() -> None:
    made = service(macos=True)
    assert made.path.parent == Path("/home/a/Library/LaunchAgents")
    content = plistlib.loads(made.content)
    assert content["ProgramArguments"] == ["/usr/bin/py thon", "up"]
    assert content["WorkingDirectory"] == str(DIRECTORY)
    assert content["EnvironmentVariables"] == {"KLED_PROFILE": 'w"$k'}


def test_each_directory_has_its_own() -> None:
    assert service_name(Path("/a/web")) != service_name(Path("/b/web"))
    assert service_name(Path("/a/web")).startswith("kled-up-web-")


def test_install_and_uninstall(kled: Kled, home: Path, tmp_path: Path) -> None:
    (tmp_path / ".kled.toml").write_text('workspace = "dev"\n[forward]\nlocal = ["8080"]\n')
    programs, calls = tmp_path / "bin", tmp_path / "calls"
    programs.mkdir()
    fake = programs / "systemctl"
    fake.write_text(f'#!/bin/sh\necho "$@" >> {calls}\n')
    fake.chmod(0o755)
    env = {"PATH": f"{programs}:/usr/bin:/bin"}
    done = kled("up", "--trust", "--install", cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stderr
    (unit,) = (home / ".config/systemd/user").iterdir()
    assert f"WorkingDirectory={tmp_path}" in unit.read_text()
    assert f"--user enable {unit.name}" in calls.read_text()
    assert kled("up", "--uninstall", cwd=tmp_path, env=env).returncode == 0
    assert not unit.exists()
    again = kled("up", "--uninstall", cwd=tmp_path, env=env)
    assert again.returncode == 4
    assert "no service" in one_line(again.stderr)


def test_without_a_file(kled: Kled, tmp_path: Path) -> None:
    done = kled("up", "--trust", cwd=tmp_path)
    assert done.returncode == 4
    assert ".kled.toml" in one_line(done.stderr)


@pytest.mark.parametrize(
    ("failing", "words", "hint"),
    [
        ("show-environment", "Failed to connect to bus: No medium found", "enable-linger"),
        ("enable", "Failed to enable unit: No space left on device", "No space"),
    ],
)
def test_an_install_that_fails_leaves_nothing(
    kled: Kled, home: Path, tmp_path: Path, failing: str, words: str, hint: str
) -> None:
    """Without a bus of the user (su, cron, a container) and half-way."""
    (tmp_path / ".kled.toml").write_text('workspace = "dev"\n[forward]\nlocal = ["8080"]\n')
    programs = tmp_path / "bin"
    programs.mkdir()
    fake = programs / "systemctl"
    fake.write_text(f'#!/bin/sh\n[ "$2" != {failing} ] || {{ echo "{words}" >&2; exit 1; }}\n')
    fake.chmod(0o755)
    done = kled(
        "up", "--trust", "--install", cwd=tmp_path, env={"PATH": f"{programs}:/usr/bin:/bin"}
    )
    assert done.returncode == 1
    said = one_line(done.stderr)
    assert words in said
    assert hint in said
    assert not list(home.rglob("*.service"))


def test_a_file_that_nobody_has_agreed_to_is_shown_and_not_followed(
    kled: Kled, tmp_path: Path
) -> None:
    (tmp_path / ".kled.toml").write_text('workspace = "dev"\n[forward]\nlocal = ["8080"]\n')
    done = kled("up", cwd=tmp_path)
    assert done.returncode == 2
    assert b'local = ["8080"]' in done.stderr
    assert b"kled up --trust" in done.stderr
