"""Environments and arguments: nothing too much, no secret where others see it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kled_coord.terraform.process import command
from kled_coord.terraform.process.command import Backend

BACKEND = Backend(address="http://x/s", lock_address="http://x/l", username="u", password="pw")


def test_only_what_every_program_needs_is_inherited(tmp_path: Path) -> None:
    settings = tmp_path / "terraformrc"
    settings.touch()
    inherited = {
        "PATH": "/bin",
        "HTTPS_PROXY": "http://proxy",
        "SSL_CERT_FILE": "/ca",
        "TF_CLI_CONFIG_FILE": str(settings),
        "KLED_DATABASE_PASSWORD": "secret",
        "TF_LOG": "trace",
        "HOME": "/root",
    }
    found = command.clean_environment(inherited, home=Path("/run/1"))
    assert found == {
        "PATH": "/bin",
        "HTTPS_PROXY": "http://proxy",
        "SSL_CERT_FILE": "/ca",
        "TF_CLI_CONFIG_FILE": str(settings),
        "HOME": "/run/1",
        "CHECKPOINT_DISABLE": "1",
        "TF_IN_AUTOMATION": "1",
        "TF_INPUT": "0",
    }


def test_a_settings_file_that_is_not_there_is_not_named(tmp_path: Path) -> None:
    inherited = {"TF_CLI_CONFIG_FILE": str(tmp_path / "missing")}
    assert "TF_CLI_CONFIG_FILE" not in command.clean_environment(inherited, home=tmp_path)


def test_a_run_gets_its_providers_and_credentials() -> None:
    found = command.clean_environment({}, home=Path("/"), reattach="{}", backend=BACKEND)
    assert found["TF_REATTACH_PROVIDERS"] == "{}"
    assert (found["TF_HTTP_USERNAME"], found["TF_HTTP_PASSWORD"]) == ("u", "pw")


def test_the_backend_file_holds_addresses_only() -> None:
    text = command.backend_file(BACKEND)
    http = json.loads(text)["terraform"]["backend"]["http"]
    assert (http["address"], http["lock_address"], http["unlock_address"]) == (
        "http://x/s",
        "http://x/l",
        "http://x/l",
    )
    assert "pw" not in text
    assert "pw" not in repr(BACKEND)


@pytest.mark.parametrize(
    ("initialized", "in_use"),
    [
        ({"backend": {"type": "http", "config": {"address": "http://x/s"}}}, True),
        ({"backend": {"type": "http", "config": {"address": "http://evil/s"}}}, False),
        ({"backend": {"type": "local", "config": {"address": "http://x/s"}}}, False),
        ({"backend": None}, False),
        ([], False),
    ],
)
def test_another_backend_is_noticed(initialized: object, in_use: bool) -> None:
    assert command.is_backend_in_use(json.dumps(initialized).encode(), BACKEND) is in_use
    assert command.is_backend_in_use(b"{", BACKEND) is False
