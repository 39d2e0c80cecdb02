"""The directories in which a file has names, for files with several of them (hard links).

A write through one name is told of the directory of that name alone (inotify(7)).
"""

from __future__ import annotations

import os
from collections.abc import Set as AbstractSet


class LinkedNames:
    """The names of files with several, in one root; names outside of it are not known."""

    def __init__(self) -> None:
        # By inode; most have all their names in one directory, or all others outside the root.
        self._directories: dict[int, bytes | set[bytes]] = {}
        # By directory, the inodes that have names in others, too.
        self._shared: dict[bytes, set[int]] = {}
        self._behind: set[bytes] = set()

    def __len__(self) -> int:
        """How many files there are of which a name was noted."""
        return len(self._directories)

    def clear(self) -> None:
        """Begin anew: everything is about to be looked at."""
        self._directories.clear()
        self._shared.clear()

    def note(self, inode: int, directory: bytes, *, changed: bool) -> None:
        """The file has a name in `directory`; if it has changed, it has in all others, too."""
        known = self._directories.setdefault(inode, directory)
        if known == directory:
            return
        if isinstance(known, bytes):
            self._shared.setdefault(known, set()).add(inode)
            known = self._directories[inode] = {known}
        known.add(directory)
        self._shared.setdefault(directory, set()).add(inode)
        if changed:
            self._behind |= known

    def look(self, directory: bytes, descriptor: int) -> None:
        """A name that has gone from `directory` may be the one that was written through."""
        if directory in self._shared:
            with os.scandir(descriptor) as found:
                self.left(directory, {one.inode() for one in found})

    def left(self, directory: bytes, inodes: AbstractSet[int] = frozenset()) -> None:
        """Only `inodes` are in `directory` now, or none: it has gone."""
        shared = self._shared.pop(directory, set())
        if shared & inodes:
            self._shared[directory] = shared & inodes
        for inode in shared - inodes:
            known = self._directories.get(inode)
            if isinstance(known, set):
                known.discard(directory)
                self._behind |= known

    def take(self, looked_at: set[bytes]) -> list[bytes]:
        """Directories in which a file has changed under another name, but those `looked_at`."""
        found, self._behind = self._behind - looked_at, set()
        looked_at |= found
        return sorted(found)
