"""Directories are removed however deep they go, and nothing outside of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kled_wire.trees import discard_tree, empty_directory, remove_tree
from tests.kit.trees import make_deep


def test_a_directory_is_removed_however_deep_it_goes(tmp_path: Path) -> None:
    doomed = tmp_path / "doomed"
    make_deep(doomed)
    try:
        remove_tree(doomed)
        assert not doomed.exists()
    finally:
        subprocess.run(["rm", "-rf", doomed], check=True)


def test_what_is_gone_is_no_error_and_what_is_no_directory_is_one(tmp_path: Path) -> None:
    remove_tree(tmp_path / "nothing")
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(NotADirectoryError):
        remove_tree(file)
    discard_tree(file)
    assert file.exists()


def test_no_link_is_followed(tmp_path: Path) -> None:
    outside, doomed = tmp_path / "outside", tmp_path / "doomed"
    for each in (outside, doomed / "inner"):
        each.mkdir(parents=True)
    (outside / "file").touch()
    (doomed / "link").symlink_to(outside)
    (doomed / "inner" / "link").symlink_to(outside)
    os.mkfifo(doomed / "inner" / "fifo")
    other = tmp_path / "other"
    other.symlink_to(outside)
    discard_tree(other)
    assert other.is_symlink()
    remove_tree(doomed)
    assert not doomed.exists()
    assert (outside / "file").exists()


def test_a_name_below_an_opened_directory_and_one_that_is_kept(tmp_path: Path) -> None:
    for name in ("one/inner", "kept/inner", "other"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "file").touch()
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        remove_tree(b"one", dir_fd=descriptor)
        assert not (tmp_path / "one").exists()
        empty_directory(descriptor, {"kept"})
    finally:
        os.close(descriptor)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert (tmp_path / "kept" / "inner").is_dir()


CLOSED = """
import os, sys
from pathlib import Path
from kled_wire.trees import remove_tree
top = Path(sys.argv[1]) / "top"
for name in ("a/b/c", "d/e"):
    (top / name).mkdir(parents=True)
    (top / name / "file").touch()
for name in ("a/b/c", "a/b", "a", "d/e", "d", "."):
    (top / name).chmod(0)
try:
    os.listdir(top)
except PermissionError:
    pass
else:
    raise SystemExit("nothing is closed to us here")
remove_tree(top)
assert not top.exists()
"""
OF_OTHERS = """
import os, sys
from pathlib import Path
from kled_wire.trees import remove_tree
top = Path(sys.argv[1]) / "top"
try:
    remove_tree(top)
except PermissionError:
    pass
else:
    raise SystemExit("it is not said")
assert sorted(path.name for path in top.iterdir()) == ["theirs"]
assert (top / "theirs" / "file").exists()
"""


def as_ordinary_user(program: str, directory: Path) -> None:
    """To root nothing is closed, unless it lacks the capabilities."""
    argv = [sys.executable, "-c", program, str(directory)]
    if os.geteuid() == 0:
        capabilities = "-dac_override,-dac_read_search,-fowner"
        argv = ["setpriv", f"--bounding-set={capabilities}", *argv]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_our_own_directories_are_opened(tmp_path: Path) -> None:
    as_ordinary_user(CLOSED, tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="giving a directory away needs root")
def test_what_cannot_be_removed_is_said_and_the_rest_is_removed(tmp_path: Path) -> None:
    for name in ("theirs", "ours/inner"):
        (tmp_path / "top" / name).mkdir(parents=True)
        (tmp_path / "top" / name / "file").touch()
    os.chown(tmp_path / "top" / "theirs", 65534, 65534)
    as_ordinary_user(OF_OTHERS, tmp_path)
