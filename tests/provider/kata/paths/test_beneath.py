"""Paths beneath the owner's roots, by descriptor, whatever is swapped meanwhile."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kled_provider.kata.paths.beneath import (
    PathKind,
    PathRefusedError,
    opened_beneath,
    split_beneath,
)


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("relative/x", "absolute"),
        ("/srv/data/../../etc/shadow", "'..'"),
        ("/srv/data\0/x", "NUL"),
        ("/srv/" + "x" * 5000, "too long"),
        ("/srv/database", "beneath"),  # no prefix of letters, but of components
        ("/etc", "beneath"),
        ("/", "beneath"),
        ("", "absolute"),
    ],
)
def test_a_path_outside_of_the_roots_is_refused_by_its_words(path: str, why: str) -> None:
    with pytest.raises(PathRefusedError, match=why):
        split_beneath(path, ["/srv/data"])


def test_the_longest_root_counts_and_a_root_lies_beneath_itself() -> None:
    assert split_beneath("/srv/data/a/b", ["/srv", "/srv/data/"]).parts == ("a", "b")
    assert split_beneath("/srv//data/.", ["/srv/data"]).parts == ()
    assert split_beneath("/srv/data", ["/"]).path == "/srv/data"


def test_without_roots_nothing_is_allowed_and_the_hint_says_so() -> None:
    with pytest.raises(PathRefusedError) as caught:
        split_beneath("/srv", [])
    assert caught.value.hint == "No path is allowed here."


@given(st.text(alphabet="/.ab\0", max_size=30))
def test_whatever_is_split_stays_below_its_root(path: str) -> None:
    try:
        found = split_beneath(path, ["/a/b"])
    except PathRefusedError:
        return
    assert os.path.normpath(path.replace("//", "/", 1)).startswith("/a/b")
    assert not {"..", ".", ""} & set(found.parts)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    inside = tmp_path / "root"
    (inside / "deep" / "er").mkdir(parents=True)
    (inside / "deep" / "file").write_text("ours")
    (tmp_path / "secret").write_text("not ours")
    return inside


@pytest.mark.parametrize("link", ["deep/link", "link", "link/deep", "link/deep/file"])
def test_no_link_is_followed_wherever_it_stands(root: Path, link: str) -> None:
    place = root / link.split("/deep", maxsplit=1)[0] if link.startswith("link") else root / link
    place.symlink_to(root)  # even one that stays inside
    with (
        pytest.raises(PathRefusedError, match="symbolic link"),
        opened_beneath(f"{root}/{link}", [str(root)]),
    ):
        pass


def test_what_was_opened_is_read_by_its_descriptor(root: Path) -> None:
    with opened_beneath(f"{root}/deep/file", [str(root)], PathKind.FILE) as opened:
        (root / "deep" / "file").unlink()
        (root / "deep" / "file").symlink_to(root.parent / "secret")
        with os.fdopen(opened.reopen()) as file:
            assert file.read() == "ours"


def test_another_kind_of_file_is_named(root: Path) -> None:
    os.mkfifo(root / "pipe")
    for path, kind in ((root, PathKind.FILE), (root / "deep/file", PathKind.DEVICE)):
        with (
            pytest.raises(PathRefusedError, match=f"not {kind.value}"),
            opened_beneath(str(path), [str(root)], kind),
        ):
            pass
    with pytest.raises(PathRefusedError, match="pipe"), opened_beneath(f"{root}/pipe", [str(root)]):
        pass
    with opened_beneath("/dev/null", ["/dev"], PathKind.DEVICE) as opened:
        assert opened.kind is PathKind.DEVICE


def test_what_is_missing_is_named(root: Path) -> None:
    with (
        pytest.raises(PathRefusedError, match="no 'new'"),
        opened_beneath(f"{root}/new/x", [str(root)]),
    ):
        pass


def test_a_root_that_is_missing_is_the_owners_to_make(tmp_path: Path) -> None:
    with (
        pytest.raises(PathRefusedError, match="allowed path"),
        opened_beneath(f"{tmp_path}/gone/x", [f"{tmp_path}/gone"]),
    ):
        pass


def test_no_race_leads_out_of_the_root(root: Path) -> None:
    """Somebody swaps a directory for a link to the outside as fast as they can, while we open."""
    outside = root.parent / "outside"
    outside.mkdir()
    (outside / "file").write_text("not ours")
    (root / "link").symlink_to(outside)
    stop = threading.Event()

    def swap() -> None:
        # A directory and a link in turn under one name, each put there whole.
        while not stop.is_set():
            (root / "deep").rename(root / "aside")
            (root / "link").rename(root / "deep")
            (root / "deep").rename(root / "link")
            (root / "aside").rename(root / "deep")

    swapper = threading.Thread(target=swap)
    swapper.start()
    opened_ones = refused = 0
    try:
        while opened_ones < 100 or refused < 20:
            try:
                with (
                    opened_beneath(f"{root}/deep/file", [str(root)], PathKind.FILE) as opened,
                    os.fdopen(opened.reopen()) as file,
                ):
                    assert file.read() == "ours"
                opened_ones += 1
            except PathRefusedError:
                refused += 1
    finally:
        stop.set()
        swapper.join()
