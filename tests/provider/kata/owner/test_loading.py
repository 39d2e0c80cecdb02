"""Only a file that root alone can write is read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kled_provider.kata.owner.file import OwnerFileError
from kled_provider.kata.owner.loading import load_owner_file


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "kata.toml"
    path.write_text("[containerd]\nnamespace = 'ours'\n")
    path.chmod(0o644)
    return path


def refusal(path: Path) -> tuple[str, str]:
    with pytest.raises(OwnerFileError) as error:
        load_owner_file(str(path))
    return error.value.code, error.value.message.removeprefix(f"{path}: ")


def test_a_file_is_read(path: Path) -> None:
    assert load_owner_file(str(path)).containerd.namespace == "ours"


def test_what_has_changed_counts_at_once_and_nothing_else_is_parsed_again(path: Path) -> None:
    before = load_owner_file(str(path))
    path.touch()
    assert load_owner_file(str(path)) is before
    path.write_text("[containerd]\nnamespace = 'oars'\n")
    assert load_owner_file(str(path)).containerd.namespace == "oars"
    path.chmod(0o666)
    assert refusal(path)[0] == "owner_file_not_private"


def test_a_mistake_is_told_with_the_file(path: Path) -> None:
    path.write_text("colour = 1\n")
    with pytest.raises(OwnerFileError, match=f"^{path}: colour is not known$"):
        load_owner_file(str(path))


def test_one_that_is_not_there(tmp_path: Path) -> None:
    assert refusal(tmp_path / "no") == ("owner_file_missing", "there is no such file")


@pytest.mark.parametrize("mode", [0o664, 0o646])
def test_one_that_others_may_write(path: Path, mode: int) -> None:
    path.chmod(mode)
    assert refusal(path) == ("owner_file_not_private", "others than root may write it")


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file away")
def test_one_of_another_user(path: Path) -> None:
    os.chown(path, 12345, 0)
    assert refusal(path) == ("owner_file_not_private", "others than root may write it")


def test_what_is_no_file(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    assert refusal(fifo) == ("owner_file_unreadable", "it is not a regular file")
    assert refusal(tmp_path) == ("owner_file_unreadable", "it is not a regular file")


def test_one_that_is_too_long_or_no_text(path: Path) -> None:
    path.write_bytes(b"#" * (1024 * 1024 + 1))
    assert refusal(path) == ("owner_file_malformed", "it has more than 1048576 bytes")
    path.write_bytes(b"\xff")
    code, message = refusal(path)
    assert code == "owner_file_malformed"
    assert message.startswith("it is not UTF-8: ")
