"""What others may read is closed, and a lost key is never replaced beside what it sealed."""

from __future__ import annotations

import secrets
import stat
from pathlib import Path

import pytest

from kled_coord.app import open_services
from kled_coord.config import CoordinatorConfig
from kled_coord.private_files import look_at_tls_key, make_private_directory
from kled_coord.services import Sources
from kled_wire.errors import ConfigError, KledError


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_directory_that_was_open_to_others_is_closed(tmp_path: Path) -> None:
    existing = tmp_path / "data"
    existing.mkdir(mode=0o755)
    make_private_directory(existing)
    assert mode(existing) == 0o700
    make_private_directory(tmp_path / "new" / "one")
    assert mode(tmp_path / "new" / "one") == 0o700


def test_a_tls_key_that_everybody_may_read_is_said(tmp_path: Path, capsys) -> None:
    key = tmp_path / "key.pem"
    key.touch(mode=0o640)
    look_at_tls_key(key)
    assert "tls_key_readable" not in capsys.readouterr().out
    key.chmod(0o644)
    look_at_tls_key(key)
    assert f"chmod o-r {key}" in capsys.readouterr().out


@pytest.mark.parametrize("what", ["directory", "key"])
async def test_what_cannot_be_closed_is_refused(
    tmp_path: Path, sources: Sources, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    (data / "sealing.key").write_bytes(secrets.token_bytes(32))
    (data / "sealing.key").chmod(0o644 if what == "key" else 0o600)
    data.chmod(0o755 if what == "directory" else 0o700)

    def refuse(_path: Path, _mode: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "chmod", refuse)
    with pytest.raises(ConfigError) as refused:
        async with open_services(CoordinatorConfig(data_dir=data), sources):
            pytest.fail("it started")
    assert (
        refused.value.code
        == {"directory": "data_dir_unusable", "key": "sealing_key_readable"}[what]
    )


async def test_a_readable_key_is_noticed_and_closed(
    tmp_path: Path, sources: Sources, capsys: pytest.CaptureFixture[str]
) -> None:
    config = CoordinatorConfig(data_dir=tmp_path)
    async with open_services(config, sources):
        pass
    assert "sealing_key_was_readable" not in capsys.readouterr().out
    key = tmp_path / "sealing.key"
    key.chmod(0o640)
    async with open_services(config, sources):
        pass
    assert mode(key) == 0o600
    assert "sealing_key_was_readable" in capsys.readouterr().out


async def test_a_key_that_is_lost_beside_a_full_database_is_not_replaced(
    tmp_path: Path, sources: Sources
) -> None:
    config, key = CoordinatorConfig(data_dir=tmp_path), tmp_path / "sealing.key"
    async with open_services(config, sources):
        pass
    backup = key.read_bytes()
    key.unlink()
    for _ in range(2):
        with pytest.raises(KledError) as refused:
            async with open_services(config, sources):
                pytest.fail("it started")
        assert refused.value.code == "sealed_key_lost"
        assert not key.exists()
    key.write_bytes(backup)
    key.chmod(0o600)
    async with open_services(config, sources):
        pass
