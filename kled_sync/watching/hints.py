"""Events of a system other than Linux, by watchfiles: hints alone, which sweeps stand behind.

watchfiles tells of what changed below a folder at any depth, and was seen to lose some of the files
of a burst without a word. So what it tells marks the directory a path is in, and where it is
a directory that one too; a session looks everywhere before it says that a side has settled.
"""

from __future__ import annotations

import errno
import importlib
import os
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Final

from kled_sync.tree.paths import ROOT, is_below, split

# How long events are collected at most, and how often it is looked whether there are more.
_DEBOUNCE_MS: Final = 50
_STEP_MS: Final = 25
# How often it is looked whether there is a folder to watch.
_AGAIN_S: Final = 1.0
Watch = Callable[..., Iterable[set[tuple[Any, str]]]]


def find_watch() -> Watch:
    """watchfiles.watch, an installation's part on other systems. Raises OSError(ENOSYS)."""
    try:
        found: Watch = importlib.import_module("watchfiles").watch
    except ImportError as exc:
        raise OSError(errno.ENOSYS, "watchfiles is not installed") from exc
    return found


class Hints:
    """The hints for one root, from a thread that waits for them. Otherwise as `Inotify`."""

    # Whatever is below is watched.
    unwatched = overflows = 0

    def __init__(self, root: bytes, watch: Watch) -> None:
        self._root = root
        self._lock = threading.Lock()
        self._dirty: set[bytes] = set()
        self._everything = False
        self.descriptor, self._wake = os.pipe()
        os.set_blocking(self.descriptor, False)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(watch,), name="hints", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        os.close(self.descriptor)
        os.close(self._wake)

    def add(self, path: bytes, directory: int) -> None:
        """Nothing is to be done: all below the root is watched."""

    def take(self) -> tuple[set[bytes], bool]:
        """Directories to look at, and whether that is all of them."""
        with suppress(BlockingIOError):
            os.read(self.descriptor, 4096)
        with self._lock:
            dirty, everything = self._dirty, self._everything
            self._dirty, self._everything = set(), False
        return dirty, everything

    def _run(self, watch: Watch) -> None:
        while not self._stop.is_set():
            try:
                self._watch(watch)
                break
            except FileNotFoundError:
                # The sync itself may be about to make it.
                while not self._stop.wait(_AGAIN_S) and not os.path.isdir(self._root):
                    pass
                self._tell(())
            except (OSError, RuntimeError):
                break  # the system tells no more: sweeps find what changes
        if not self._stop.is_set():
            self._tell(())

    def _watch(self, watch: Watch) -> None:
        """Raises FileNotFoundError without a folder; OSError, RuntimeError as watchfiles does."""
        for changes in watch(
            os.fsdecode(self._root),
            watch_filter=None,
            debounce=_DEBOUNCE_MS,
            step=_STEP_MS,
            stop_event=self._stop,
            raise_interrupt=False,
        ):
            self._tell(path for _, path in changes)

    def _tell(self, paths: Iterable[str]) -> None:
        """No path at all means everything."""
        found: set[bytes] = set()
        for path in paths:
            found |= self._directories(os.fsencode(path))
        with self._lock:
            self._dirty |= found
            self._everything = self._everything or not found
        os.write(self._wake, b"\0")

    def _directories(self, path: bytes) -> set[bytes]:
        """What `path`, as the system names it, makes worth a look: it may be a directory itself."""
        if path == self._root or not is_below(path, self._root):
            return {ROOT}
        below = path[len(self._root) + 1 :]
        return {split(below)[0], below}
