"""The provider as Terraform starts it itself: handshake, TLS, environment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kled_provider.environment_host import EnvironmentHost
from kled_provider.handshake import COOKIE, handshake_line, is_started_by_terraform
from kled_provider.host import HostError

ROOT = Path(__file__).parents[2]
WORKSPACE = {"KLED_WORKSPACE_NAME": "dev", "KLED_COORDINATOR_URL": "https://kled.example"}
AGENT = {"KLED_AGENT_ID": "a-1", "KLED_AGENT_TOKEN": "secret"}


def run_provider(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "kled_provider", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_line_has_six_fields_and_no_padding() -> None:
    line = handshake_line(Path("/run/x.sock"), b"1234")
    assert line == "1|6|unix|/run/x.sock|grpc|MTIzNA"


def test_only_the_right_cookie_counts() -> None:
    assert is_started_by_terraform({COOKIE[0]: COOKIE[1]})
    assert not is_started_by_terraform({COOKIE[0]: "x"})
    assert not is_started_by_terraform({})


@pytest.mark.slow
def test_run_by_a_person_it_says_what_it_is() -> None:
    done = run_provider()
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert "Terraform starts it" in done.stderr
    assert run_provider("--help").stdout.startswith("usage: terraform-provider-kled")
    assert run_provider("--version").stdout.startswith("terraform-provider-kled ")


async def test_a_missing_variable_is_named() -> None:
    with pytest.raises(HostError, match="KLED_WORKSPACE_NAME is not set"):
        await EnvironmentHost({}).workspace()
    with pytest.raises(HostError, match="KLED_AGENT_ID is not set"):
        await EnvironmentHost(WORKSPACE).ensure_agent("main", "")


@pytest.mark.parametrize(
    "wrong", [{"KLED_TRANSITION": "up"}, {"KLED_PARAMETERS": "{"}, {"KLED_PARAMETERS": '{"a": 1}'}]
)
async def test_a_wrong_variable_is_named(wrong: dict[str, str]) -> None:
    with pytest.raises(HostError, match=next(iter(wrong))):
        await EnvironmentHost({**WORKSPACE, **wrong}).workspace()


async def test_the_workspace_comes_from_the_environment() -> None:
    found = await EnvironmentHost({**WORKSPACE, "KLED_PARAMETERS": '{"a": "b"}'}).workspace()
    assert (found["id"], found["start_count"], found["parameters"]) == ("dev", 1, {"a": "b"})


def install(directory: Path) -> dict[str, str]:
    """Put the provider into a mirror on disk; returns the environment that uses it."""
    system = f"{sys.platform}_{'arm64' if os.uname().machine in ('aarch64', 'arm64') else 'amd64'}"
    folder = directory / "mirror/registry.terraform.io/kled/kled/0.1.0" / system
    folder.mkdir(parents=True)
    script = folder / "terraform-provider-kled_v0.1.0"
    script.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m kled_provider "$@"\n')
    script.chmod(0o755)
    config = directory / "terraformrc"
    config.write_text(
        f'provider_installation {{\nfilesystem_mirror {{\npath = "{directory}/mirror"\n}}\n}}\n'
    )
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(directory),
        "CHECKPOINT_DISABLE": "1",
        "TF_CLI_CONFIG_FILE": str(config),
    }


def terraform(directory: Path, environment: dict[str, str], *arguments: str) -> Any:
    return subprocess.run(
        ["terraform", *arguments, "-no-color"],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_terraform_starts_it_over_mutual_tls(tmp_path: Path) -> None:
    environment = install(tmp_path)
    work = tmp_path / "work"
    work.mkdir()
    (work / "main.tf").write_text(
        'terraform {\n  required_providers {\n    kled = { source = "kled/kled" }\n  }\n}\n'
        'resource "kled_agent" "main" {}\noutput "id" { value = kled_agent.main.id }\n'
    )
    assert terraform(work, environment, "init").returncode == 0
    done = terraform(work, environment, "apply", "-auto-approve")
    assert done.returncode == 1
    assert "KLED_AGENT_ID is not set" in done.stderr
    done = terraform(work, {**environment, **WORKSPACE, **AGENT}, "apply", "-auto-approve")
    assert done.returncode == 0, done.stderr
    assert 'id = "a-1"' in done.stdout
