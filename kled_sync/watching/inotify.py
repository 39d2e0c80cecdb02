"""inotify(7), by ctypes: one watch for each directory.

A directory is watched before its names are read, by the descriptor they are read from, so nothing
can be made in it unseen. What the kernel could not tell (its queue was full) marks everything.
"""

from __future__ import annotations

import os
import struct
from contextlib import suppress
from typing import Final

from kled_sync.watching.kernel import call, read_waiting
from kled_wire.counting import counted

_EVENT: Final = struct.Struct("iIII")
_ATTRIB, _MODIFY, _CLOSE_WRITE = 0x4, 0x2, 0x8
_MOVED, _CREATE, _DELETE, _DELETE_SELF, _MOVE_SELF = 0xC0, 0x100, 0x200, 0x400, 0x800
_OVERFLOW, _IGNORED = 0x4000, 0x8000
_MASK: Final = (
    _ATTRIB | _MODIFY | _CLOSE_WRITE | _MOVED | _CREATE | _DELETE | _DELETE_SELF | _MOVE_SELF
)


class Inotify:
    """Watches of one root. Blocks nowhere; for one thread."""

    def __init__(self) -> None:
        """Raises OSError: EMFILE when the user has too many instances, ENOSYS elsewhere."""
        self.descriptor = call("inotify_init1", os.O_NONBLOCK | os.O_CLOEXEC)
        self._paths: dict[int, bytes] = {}
        self._watches: dict[bytes, int] = {}
        # How many directories could not be watched: the limit of the user is reached.
        self.unwatched = 0
        # How often more happened at once than the kernel keeps events of.
        self.overflows = 0

    def close(self) -> None:
        os.close(self.descriptor)

    def add(self, path: bytes, directory: int) -> None:
        """Watch the directory that `directory` is a descriptor of, called `path` from now on."""
        name = b"/proc/self/fd/%d" % directory
        try:
            watch = call("inotify_add_watch", self.descriptor, name, _MASK)
        except OSError:
            self.unwatched += 1
            return
        known_as = self._paths.get(watch)
        if known_as is not None and known_as != path:
            self._watches.pop(known_as, None)  # it was moved
        before = self._watches.get(path)
        if before is not None and before != watch:
            self._paths.pop(before, None)
        self._paths[watch] = path
        self._watches[path] = watch

    def take(self) -> tuple[set[bytes], bool]:
        """Directories to look at, and whether that is all of them."""
        dirty: set[bytes] = set()
        everything = False
        for data in read_waiting(self.descriptor):
            at = 0
            while at < len(data):
                watch, mask, _, length = _EVENT.unpack_from(data, at)
                at += _EVENT.size + length
                everything |= self._note(watch, mask, dirty)
        return dirty, everything

    def _note(self, watch: int, mask: int, dirty: set[bytes]) -> bool:
        if mask & _OVERFLOW:
            self.overflows += 1
            return True
        path = self._paths.get(watch)
        if path is None:
            return False
        if mask & _IGNORED:
            self._paths.pop(watch, None)
            if self._watches.get(path) == watch:
                del self._watches[path]
        if path and mask & _MOVE_SELF:
            return False  # nothing in it has changed; the directories it went from and to are told
        dirty.add(path)
        # The root itself was moved or deleted.
        return path == b"" and bool(mask & (_DELETE_SELF | _MOVE_SELF | _IGNORED))


def limit_words(unwatched: int) -> str:
    """What is said when watches have run out."""
    return (
        f"{unwatched} directories are not watched: the limit of {_limit('max_user_watches')} "
        "watches is reached; changes there are seen at the next sweep. Remedy: sysctl "
        "fs.inotify.max_user_watches=1048576"
    )


def instances_words() -> str:
    """What is said where this user's programs have as many instances as they may."""
    return (
        f"the limit of {_limit('max_user_instances')} inotify instances is reached. Remedy: sysctl "
        "fs.inotify.max_user_instances=1024, and kled sync pause and resume"
    )


def overflow_words(overflows: int) -> str:
    """What is said where events were lost, and everything was scanned for that."""
    return (
        f"more happened at once than the limit of {_limit('max_queued_events')} events, "
        f"{counted(overflows, 'time')}; everything was looked at then. Remedy: sysctl "
        "fs.inotify.max_queued_events=131072"
    )


def _limit(name: str) -> str:
    with suppress(OSError), open(f"/proc/sys/fs/inotify/{name}") as file:
        return file.read().strip()
    return "?"
