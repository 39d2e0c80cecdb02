"""What a template's programs put into a run's directory leads the coordinator nowhere else."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kled_coord.terraform.run import load_errored_state
from kled_coord.terraform.session import WORK_DIRECTORY
from kled_coord.terraform.source.untrusted import MAX_BYTES, make_directory, read_file, remove_file


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


def test_a_file_that_would_fill_the_memory_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "errored.tfstate").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(OSError, match="too large"):
        read_file(tmp_path, "errored.tfstate")


def test_a_directory_in_place_of_a_file_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "kled.tfvars").mkdir()
    remove_file(tmp_path, "kled.tfvars")


@pytest.mark.parametrize("what", ["file", "link", "fifo", "nothing", "directory"])
def test_a_directory_is_made_whatever_stands_there(tmp_path: Path, what: str) -> None:
    run, other = tmp_path / "run", tmp_path / "other"
    run.mkdir()
    other.mkdir()
    there = run / "tmp"
    {
        "file": there.touch,
        "link": lambda: there.symlink_to(other),
        "fifo": lambda: os.mkfifo(there),
        "nothing": lambda: None,
        "directory": there.mkdir,
    }[what]()
    assert make_directory(run, "tmp") == there
    assert there.is_dir()
    assert not there.is_symlink()


CLOSED = """
import os, sys
from contextlib import suppress
from pathlib import Path
from kled_coord.builds.running.runs import _look
from kled_coord.terraform.source.untrusted import make_directory, read_file, remove_file
from kled_wire.trees import remove_tree
run = Path(sys.argv[1]) / "run"
(run / "template" / "deep").mkdir(parents=True)
(run / "template" / "errored.tfstate").write_bytes(b"{}")
(run / "template" / "deep" / "file").touch()
def close():
    for path in ("template/deep", "template", "."):
        with suppress(PermissionError):
            (run / path).chmod(0)
close()
try:
    os.listdir(run)
except PermissionError:
    pass
else:
    raise SystemExit("nothing is closed to us here")
assert not _look(run).has_state
assert read_file(run, "template/errored.tfstate") == b"{}"
close()
remove_file(run, "template/errored.tfstate")
assert not (run / "template/errored.tfstate").exists()
close()
make_directory(run, "tmp")
close()
remove_tree(run)
assert not run.exists()
"""


def test_what_a_program_has_closed_to_us_is_opened_again(tmp_path: Path) -> None:
    """As an ordinary user: to root nothing is closed, unless it lacks the capability."""
    argv = [sys.executable, "-c", CLOSED, str(tmp_path)]
    if os.geteuid() == 0:
        argv = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *argv]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
