"""A `.kled.toml` is followed once somebody has agreed to what it says."""

from __future__ import annotations

from pathlib import Path

from kled_client.forward.trust import is_trusted, trust


def test_what_was_agreed_to_holds_for_that_file_and_that_text(tmp_path: Path) -> None:
    env = {"KLED_CONFIG_DIR": str(tmp_path / "config")}
    one, other = tmp_path / "one" / ".kled.toml", tmp_path / "other" / ".kled.toml"
    assert not is_trusted(env, one, "a")
    trust(env, one, "a")
    assert is_trusted(env, one, "a")
    assert not is_trusted(env, one, "b")
    assert not is_trusted(env, other, "a")
    trust(env, other, "b")
    trust(env, one, "c")
    assert [is_trusted(env, one, text) for text in "abc"] == [False, False, True]
    assert is_trusted(env, other, "b")


def test_a_store_that_is_damaged_trusts_nothing(tmp_path: Path) -> None:
    env = {"KLED_CONFIG_DIR": str(tmp_path)}
    (tmp_path / "trusted.json").write_text("[]")
    assert not is_trusted(env, tmp_path, "a")
    (tmp_path / "trusted.json").write_text("{")
    assert not is_trusted(env, tmp_path, "a")
