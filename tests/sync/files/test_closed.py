"""Directories in which their owner may not write, opened for a time."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from kled_sync.files.closed import ClosedDirectories
from kled_sync.files.root import Root
from kled_sync.files.writing.staging_directory import staging
from kled_wire.errors import UnavailableError
from tests.kit.unprivileged import bound_by_permissions


@pytest.fixture
def place(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "d" / "e").mkdir(parents=True)
    (root / "d" / "e").chmod(0o500)
    (root / "d").chmod(0o555)
    return root


@pytest.fixture
def root(place: Path) -> Iterator[Root]:
    with Root(os.fsencode(place)) as root:
        yield root


@pytest.fixture
def record(tmp_path: Path) -> Path:
    return tmp_path / "opened"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_closed_directory_is_open_until_it_is_closed_again(
    place: Path, root: Root, record: Path
) -> None:
    closed = ClosedDirectories(root, record)
    with bound_by_permissions():
        with pytest.raises(PermissionError):
            (place / "d" / "made").mkdir()
        assert closed.open([b"d", b"d/e"])
        assert not closed.open([b"d"])
        (place / "d" / "made").mkdir()
    assert (mode(place / "d"), mode(place / "d" / "e")) == (0o755, 0o700)
    (place / "d").rename(place / "moved")  # with its descriptor
    closed.close()
    assert (mode(place / "moved"), mode(place / "moved" / "e")) == (0o555, 0o500)
    assert not record.exists()


def test_what_got_other_permissions_meanwhile_keeps_them(
    place: Path, root: Root, record: Path
) -> None:
    closed = ClosedDirectories(root, record)
    closed.open([b"d", b"d/e"])
    (place / "d").chmod(0o777)
    closed.let_be(root.directory(b"d/e"))
    closed.close()
    assert (mode(place / "d"), mode(place / "d" / "e")) == (0o777, 0o700)


def test_what_a_killed_process_left_open_is_closed_by_the_next(
    place: Path, root: Root, record: Path
) -> None:
    assert ClosedDirectories(root, record).open([b"d", b"d/e"])
    ClosedDirectories(root, record)
    assert (mode(place / "d"), mode(place / "d" / "e")) == (0o555, 0o500)
    assert not record.exists()


def test_of_what_it_left_open_only_the_same_directory_is_closed(
    place: Path, root: Root, record: Path, tmp_path: Path
) -> None:
    assert ClosedDirectories(root, record).open([b"d", b"d/e"])
    (tmp_path / "outside" / "e").mkdir(parents=True)
    (tmp_path / "outside" / "e").chmod(0o700)
    (tmp_path / "outside").chmod(0o755)
    (place / "d").rename(place / "before")
    (place / "d").symlink_to(tmp_path / "outside")
    record.write_bytes(record.read_bytes() + b"damaged\n555 1 Li4=\n")
    root.forget()
    ClosedDirectories(root, record)
    assert (mode(tmp_path / "outside"), mode(tmp_path / "outside" / "e")) == (0o755, 0o700)
    (place / "d").unlink()
    (place / "d").mkdir(0o755)
    record.write_bytes(b"555 1 ZA==\n")
    root.forget()
    ClosedDirectories(root, record)
    assert mode(place / "d") == 0o755


def test_what_could_not_be_given_back_is_not_opened(
    place: Path, root: Root, record: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user takes setgid away by chmod(2) where the group is another's."""
    (place / "d").chmod(0o2555)
    monkeypatch.setattr(os, "geteuid", lambda: (place / "d").stat().st_uid or 1234)
    monkeypatch.setattr(os, "getegid", lambda: 4321)
    monkeypatch.setattr(os, "getgroups", list)
    assert not ClosedDirectories(root, record).open([b"d", b"gone", b"d/e/f"])
    assert mode(place / "d") == 0o2555
    assert not record.exists()


def test_a_file_in_a_directory_that_is_closed_names_why_nothing_is_staged(
    place: Path, record: Path
) -> None:
    (place / "d").chmod(0o755)
    (place / "d" / "file").touch()
    (place / "d").chmod(0o555)
    with (
        bound_by_permissions(),
        Root(os.fsencode(place / "d" / "file")) as root,
        pytest.raises(UnavailableError, match="file: Permission denied"),
        staging(root, ClosedDirectories(root, record)),
    ):
        pass
