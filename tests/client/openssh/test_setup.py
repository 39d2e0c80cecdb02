"""The block for this machine and user: which profile ssh is told to use."""

from __future__ import annotations

from pathlib import Path

from kled_client.openssh.setup import block_settings


def test_the_usual_profile_needs_no_words(tmp_path: Path) -> None:
    found = block_settings({"HOME": str(tmp_path)}, "default").command
    assert found[0] != "env"
    assert found[-2:] == ("stream", "--fdpass")


def test_another_directory_and_profile_are_carried(tmp_path: Path) -> None:
    env = {"HOME": str(tmp_path), "KLED_CONFIG_DIR": str(tmp_path / "other")}
    found = block_settings(env, "work").command
    assert found[:2] == ("env", f"KLED_CONFIG_DIR={tmp_path / 'other'}")
    assert found[-1] == "--profile=work"


def test_xdg_is_carried_too(tmp_path: Path) -> None:
    """A program started from the desktop may not have the shell's XDG_CONFIG_HOME."""
    env = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "xdg")}
    assert block_settings(env, "default").command[1] == f"KLED_CONFIG_DIR={tmp_path}/xdg/kled"
