"""`kled-coord install`: what is written where, what stays, and when it says no before it begins."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest

from kled_coord import installing
from kled_coord.config import CoordinatorConfig
from kled_wire.errors import ConflictError, ForbiddenError, KledError

PROGRAM = Path("/srv/100%/bin/kled-coord")


def placed(root: Path) -> dict[str, str]:
    found = installing.place_files(root, PROGRAM)
    return {str(file.path.relative_to(root)): file.how for file in found}


def test_the_unit_starts_the_program_that_wrote_it(tmp_path: Path) -> None:
    assert set(placed(tmp_path).values()) == {"written"}
    unit = (tmp_path / "etc/systemd/system/kled-coord.service").read_text()
    assert "ExecStart=/srv/100%%/bin/kled-coord serve\n" in unit
    assert "ExecStartPre=/srv/100%%/bin/kled-coord check-config\n" in unit
    assert "/opt/kled" not in unit
    assert (tmp_path / "etc/sysusers.d/kled-coord.conf").stat().st_mode & 0o777 == 0o644
    assert not list(tmp_path.rglob(".*.new"))


def test_the_settings_that_ship_are_settings(tmp_path: Path) -> None:
    placed(tmp_path)
    text = (tmp_path / "etc/kled/coord.toml").read_text()
    assert tomllib.loads(text) == {"data_dir": "/var/lib/kled"}
    every = [line.removeprefix("#") for line in text.splitlines() if not line.startswith("# ")]
    for line in filter(None, every):
        (name,) = tomllib.loads(line)
        assert name in CoordinatorConfig.model_fields


def test_again_it_changes_what_is_ours_and_keeps_the_owners_settings(tmp_path: Path) -> None:
    placed(tmp_path)
    settings = tmp_path / "etc/kled/coord.toml"
    unit = tmp_path / "etc/systemd/system/kled-coord.service"
    settings.write_text('host = "0.0.0.0"\n')
    unit.write_text("an older release's")
    how = placed(tmp_path)
    assert how.pop("etc/kled/coord.toml") == "kept"
    assert how.pop("etc/systemd/system/kled-coord.service") == "written"
    assert set(how.values()) == {"unchanged"}
    assert settings.read_text() == 'host = "0.0.0.0"\n'


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "etc").write_text("no directory")
    with pytest.raises(KledError, match=r"etc/sysusers\.d/kled-coord\.conf cannot be written"):
        placed(tmp_path)


def test_a_program_that_the_unit_would_not_see_is_refused() -> None:
    with pytest.raises(ConflictError, match="hides /root from the coordinator"):
        installing.check_machine(
            Path("/"), Path("/root/.local/share/pipx/venvs/kled/bin/kled-coord")
        )


def test_without_root_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(ForbiddenError, match="needs root"):
        installing.check_machine(Path("/"), PROGRAM)
    installing.check_machine(Path("/srv/image"), PROGRAM)


@pytest.mark.skipif(Path("/run/systemd/system").exists(), reason="this machine is run by systemd")
def test_without_systemd_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(ConflictError, match="systemd does not run"):
        installing.check_machine(Path("/"), PROGRAM)
