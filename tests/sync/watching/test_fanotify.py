"""One mark for a whole filesystem, where a user's watches have run out; root alone may set it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import trio

from kled_sync.decide.modes import SyncSide
from kled_sync.watching.choice import Choice, Watcher, open_watcher
from kled_sync.watching.fanotify import Fanotify, open_fanotify
from kled_sync.watching.inotify import Inotify
from tests.kit.endpoints import kept_same


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root" / "sub").mkdir(parents=True)
    found = open_fanotify(os.fsencode(tmp_path))
    if found is None:
        pytest.skip("needs the right to watch a whole filesystem")
    found.close()
    return tmp_path / "root"


def test_only_directories_that_are_known_are_told_of(root: Path) -> None:
    watcher = Fanotify(os.fsencode(root))
    for path in (b"", b"sub"):
        descriptor = os.open(root / os.fsdecode(path), os.O_RDONLY)
        watcher.add(path, descriptor)
        os.close(descriptor)
    (root / "sub" / "x").write_text("1")
    assert watcher.take() == ({b"sub"}, False)
    (root / "sub" / "x").rename(root / "y")
    assert watcher.take() == ({b"", b"sub"}, False)
    (root.parent / "foreign").write_text("1")
    assert watcher.take() == (set(), False)
    for number in range(20_000):  # more than inotify's queue holds
        (root / "sub" / str(number % 50)).touch()
    assert watcher.take() == ({b"sub"}, False)
    watcher.close()


def test_it_takes_the_place_of_an_instance_too_many(root: Path) -> None:
    def too_many() -> Watcher:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    for path in (root, root / "not" / "there" / "yet"):
        watcher, how, words = open_watcher(os.fsencode(path), inotify=too_many)
        assert watcher is not None
        assert (how, words) == ("fanotify", "")
        watcher.close()


class Exhausted(Inotify):
    """As where a user has no watch left."""

    def add(self, path: bytes, directory: int) -> None:  # as the watcher's
        self.unwatched += 1


async def test_it_takes_over_where_watches_have_run_out(tmp_path: Path, root: Path) -> None:
    def exhausted(_root: bytes) -> Choice:
        return Exhausted(), "inotify", ""

    beta = tmp_path / "beta"
    async with kept_same(tmp_path, root, beta, watchers={SyncSide.ALPHA: exhausted}) as sync:
        await sync.flush()
        watching = sync.sides[SyncSide.ALPHA].watching
        assert watching is not None
        assert (watching.how, watching.words) == ("fanotify", "")
        await sync.flush()
        (root / "sub" / "new").write_text("told")
        with trio.fail_after(20):
            while not (beta / "sub" / "new").exists():
                await trio.sleep(0.005)
