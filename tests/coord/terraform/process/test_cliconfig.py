"""Terraform's own configuration file: there, not there, and not to be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from kled_coord.terraform.process.cliconfig import CLI_CONFIG, read_cli_config
from kled_wire.errors import ConfigError


def test_a_file_that_is_not_there_is_as_if_none_were_named(tmp_path: Path) -> None:
    file = tmp_path / "terraformrc"
    assert read_cli_config({}) == ""
    assert read_cli_config({CLI_CONFIG: ""}) == ""
    for path in (file, tmp_path, file / "below"):
        assert read_cli_config({CLI_CONFIG: str(path)}) == ""
    file.write_bytes(b"disable_checkpoint = true # \xff\n")
    assert read_cli_config({CLI_CONFIG: str(file)}).startswith("disable_checkpoint")


def test_one_that_may_not_be_read_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", refuse)  # root may read everything
    with pytest.raises(ConfigError, match="TF_CLI_CONFIG_FILE names /etc/tfrc") as caught:
        read_cli_config({CLI_CONFIG: "/etc/tfrc"})
    assert caught.value.code == "terraform_config_unreadable"
    assert "Permission denied" in caught.value.message
