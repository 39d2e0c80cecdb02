"""What the doctor sees on this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from kled_client.account.certificate import ensure_key, identity_of
from kled_client.account.profile import Profile
from kled_client.doctor import local
from kled_client.doctor.judge import CheckOutcome
from kled_client.openssh.setup import default_path, install
from kled_wire.errors import ConfigError

AWAY = Profile(name="default", url="https://kled.example.com")


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path)}


def test_a_proxy_is_named_without_its_password() -> None:
    env = {"HTTPS_PROXY": "http://me:secret@10.0.0.1:3128"}
    found = local.check_proxy(env, AWAY).found
    assert found == "the proxy 10.0.0.1:3128, with user and password"
    exempt = local.check_proxy(env | {"NO_PROXY": "example.com"}, AWAY)
    assert exempt.found == "none (HTTPS_PROXY does not apply to this host)"
    assert local.check_proxy({}, AWAY).found == "none"
    with pytest.raises(ConfigError):
        local.check_proxy({"HTTPS_PROXY": "socks5://me:secret@h"}, AWAY)


def test_ssh_is_there_or_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert "OpenSSH" in local.check_ssh().found
    (tmp_path / "ssh").write_text("no program")
    (tmp_path / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "does not run" in local.check_ssh().found
    (tmp_path / "ssh").unlink()
    assert local.check_ssh().outcome is CheckOutcome.WARN


def test_the_block_in_the_ssh_configuration(env: dict[str, str]) -> None:
    assert "no block" in local.check_ssh_config(env, "default").found
    path = default_path(env)
    install(env, "default", path)
    assert local.check_ssh_config(env, "default").outcome is CheckOutcome.OK
    assert "another" in local.check_ssh_config(env, "work").found


def test_the_ssh_key(env: dict[str, str]) -> None:
    assert "no SSH key" in local.check_identity(env, "default").found
    identity = identity_of(env, "default")
    ensure_key(identity)
    assert "no certificate yet" in local.check_identity(env, "default").found
    Path(identity.certificate).write_text("certificate")
    assert "and certificate are there" in local.check_identity(env, "default").found
    Path(identity.key).chmod(0o644)
    assert local.check_identity(env, "default").outcome is CheckOutcome.WARN


def test_open_files() -> None:
    assert local.check_open_files().found
