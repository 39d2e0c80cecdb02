"""What a template's programs put into a run's directory leads the coordinator nowhere else."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from kled_coord.terraform.run import WORK_DIRECTORY, load_errored_state
from kled_coord.terraform.untrusted import read_file, remove_file


def a_link(run: Path, secret: Path) -> None:
    (run / "template").mkdir()
    (run / "template" / "errored.tfstate").symlink_to(secret)


def a_linked_directory(run: Path, secret: Path) -> None:
    (run / "template").symlink_to(secret.parent)


def a_fifo(run: Path, _secret: Path) -> None:
    (run / "template").mkdir()
    os.mkfifo(run / "template" / "errored.tfstate")


def a_directory(run: Path, _secret: Path) -> None:
    (run / "template" / "errored.tfstate").mkdir(parents=True)


@pytest.mark.parametrize("trap", [a_link, a_linked_directory, a_fifo, a_directory])
def test_nothing_but_a_file_of_the_run_is_read(
    tmp_path: Path, trap: Callable[[Path, Path], None]
) -> None:
    run, outside = tmp_path / "run", tmp_path / "outside"
    run.mkdir()
    outside.mkdir()
    secret = outside / "errored.tfstate"
    secret.write_bytes(b"{}")
    trap(run, secret)
    assert load_errored_state(run / WORK_DIRECTORY) is None


def test_a_file_is_read_and_removed_and_one_behind_a_link_is_not(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    assert read_file(tmp_path, "a/b") == b"x"
    assert read_file(tmp_path, "a/c") is None
    remove_file(tmp_path, "link/b")
    assert read_file(tmp_path, "a/b") == b"x"
    remove_file(tmp_path, "a/b")
    remove_file(tmp_path, "a/b")
    assert read_file(tmp_path, "a/b") is None
