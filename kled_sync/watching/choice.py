"""The watcher that a system has: inotify, hints of watchfiles, or none."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Protocol

from kled_sync.watching.fanotify import Fanotify, open_fanotify
from kled_sync.watching.filesystem import remote_words
from kled_sync.watching.hints import Hints, Watch, find_watch
from kled_sync.watching.inotify import Inotify, instances_words


class Watcher(Protocol):
    """Reports directories that may have changed. For one thread."""

    descriptor: int
    unwatched: int
    overflows: int

    def add(self, path: bytes, directory: int) -> None:
        """Watch a directory, of which `directory` is a descriptor."""

    def take(self) -> tuple[set[bytes], bool]:
        """Directories to look at, and whether that is all of them."""

    def close(self) -> None:
        """Watch no more."""


# The watcher of a root, how it is called in `Watching`, and what is to be known about it.
Choice = tuple[Watcher | None, str, str]


def open_watcher(
    root: bytes,
    *,
    inotify: Callable[[], Watcher] = Inotify,
    fanotify: Callable[[bytes], Fanotify | None] = open_fanotify,
    find: Callable[[], Watch] = find_watch,
) -> Choice:
    """Without a watcher sweeps have to do."""
    try:
        return inotify(), "inotify", remote_words(root)
    except OSError as exc:
        reason = exc.strerror
        if exc.errno == errno.EMFILE:
            reason, unlimited = instances_words(), fanotify(root)
            if unlimited is not None:
                return unlimited, "fanotify", remote_words(root)
    try:
        return Hints(root, find()), "hints", remote_words(root)
    except OSError:
        return None, "sweeps", f"changes raise no events here: {reason}"
