"""Hints of systems other than Linux; watchfiles itself is played, it is not installed here."""

from __future__ import annotations

import errno
import os
import queue
import select
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from kled_sync.decide.modes import SyncSide
from kled_sync.watching.choice import open_watcher
from kled_sync.watching.hints import Hints, find_watch
from tests.kit.endpoints import content, kept_same


class Played:
    """Tells what a test says, until it is to end."""

    def __init__(self) -> None:
        self.told: queue.Queue[set[tuple[int, str]] | BaseException] = queue.Queue()

    def watch(self, root: str, *, stop_event: Any, **_: Any) -> Iterator[set[tuple[int, str]]]:
        while not stop_event.is_set():
            try:
                told = self.told.get(timeout=0.01)
            except queue.Empty:
                continue
            if isinstance(told, BaseException):
                raise told
            yield {(kind, f"{root}/{path}") for kind, path in told}


def taken(hints: Hints) -> tuple[set[bytes], bool]:
    assert select.select([hints.descriptor], [], [], 10)[0]
    return hints.take()


def test_a_hint_is_worth_a_look_at_its_directory() -> None:
    played = Played()
    hints = Hints(b"/root/x", played.watch)
    played.told.put({(1, "a/b"), (2, "c")})
    assert taken(hints) == ({b"a", b"a/b", b"", b"c"}, False)
    assert hints.take() == (set(), False)
    played.told.put({(1, "../elsewhere")})
    assert b"" in taken(hints)[0] | {b""}
    played.told.put(OSError(errno.ENOSPC, "no more"))
    assert taken(hints)[1]
    hints.close()


def test_a_folder_that_is_made_later_is_watched_then(tmp_path: Path) -> None:
    played, refused = Played(), threading.Event()

    def watch(root: str, **options: Any) -> Iterator[set[tuple[int, str]]]:
        if not Path(root).is_dir():
            refused.set()
            raise FileNotFoundError(errno.ENOENT, "no", root)
        return played.watch(root, **options)

    hints = Hints(os.fsencode(tmp_path / "later"), watch)
    assert refused.wait(10)
    (tmp_path / "later").mkdir()
    assert taken(hints) == (set(), True)
    played.told.put({(1, "a/b")})
    assert taken(hints) == ({b"a", b"a/b"}, False)
    hints.close()


def test_a_system_without_inotify_gets_hints_and_one_without_those_sweeps() -> None:
    def none() -> Any:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    played = Played()
    watcher, how, words = open_watcher(b"/root/x", inotify=none, find=lambda: played.watch)
    assert isinstance(watcher, Hints)
    assert (how, words) == ("hints", "")
    watcher.close()
    watcher, how, words = open_watcher(b"/root/x", inotify=none, find=none)
    assert (watcher, how) == (None, "sweeps")
    assert "raise no events here" in words

    def too_many() -> Any:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    found = open_watcher(b"/", inotify=too_many, fanotify=lambda _: None, find=none)
    assert found[:2] == (None, "sweeps")
    assert "Remedy: sysctl fs.inotify.max_user_instances=" in found[2]
    watcher, how, _ = open_watcher(b"/", find=none)
    assert watcher is not None
    assert how == "inotify"
    watcher.close()


def test_watchfiles_is_no_part_of_an_installation_on_linux() -> None:
    with pytest.raises(OSError, match="not installed"):
        find_watch()


async def test_a_flush_does_not_trust_hints(tmp_path: Path) -> None:
    """What they tell comes over at once; what they lose is found by whoever waits for it."""
    alpha, beta = tmp_path / "alpha", tmp_path / "beta"
    (alpha / "sub").mkdir(parents=True)
    played = Played()

    def none() -> Any:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    def by_hints(root: bytes) -> Any:
        return open_watcher(root, inotify=none, find=lambda: played.watch)

    async with kept_same(tmp_path, alpha, beta, watchers={SyncSide.ALPHA: by_hints}) as sync:
        await sync.flush()
        (alpha / "sub" / "told").write_text("1")
        played.told.put({(1, "sub/told")})
        with trio.fail_after(20):
            while not (beta / "sub" / "told").exists():
                await trio.sleep(0.005)
        (alpha / "sub" / "lost").write_text("2")
        await sync.flush()
        assert content(beta) == content(alpha)
