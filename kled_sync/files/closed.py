"""Directories in which their owner may not write, opened for as long as something is done in them.

A file is put into place in its directory. Where that is 0555 its owner may not, but may change the
permissions. What is opened is noted on the disk before: after a kill the next process closes it.
"""

from __future__ import annotations

import base64
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

from kled_sync.files.root import Root
from kled_sync.tree.paths import check_path
from kled_wire.errors import ProtocolError

# The permissions that the owner needs to make, rename and remove names in a directory.
_WRITABLE: Final = stat.S_IWUSR | stat.S_IXUSR


class _Opened(NamedTuple):
    """`mode` is what it had, and what it is to have again."""

    descriptor: int
    mode: int


class ClosedDirectories:
    """The closed directories of one root. Blocks; for one thread."""

    def __init__(self, root: Root, record: Path) -> None:
        """`record` is a file of ours; what it says a killed process has left open is closed."""
        self._root, self._record = root, record
        # By device and inode, since a directory may be renamed meanwhile.
        self._opened: dict[tuple[int, int], _Opened] = {}
        self._close_left()

    def open(self, paths: Iterable[bytes]) -> bool:
        """Whether one of these directories was closed and is open now. Raises OSError."""
        opened = [self._open(path) for path in paths]
        return any(opened)

    @contextmanager
    def opened(self, path: bytes) -> Iterator[None]:
        """Have `path` open, if it is a directory of ours. Raises OSError."""
        try:
            self.open([path])
            yield
        finally:
            self.close()

    def _open(self, path: bytes) -> bool:
        with suppress(FileNotFoundError, NotADirectoryError):
            descriptor = self._root.directory(path)
            found = os.fstat(descriptor)
            mode = stat.S_IMODE(found.st_mode)
            if mode & _WRITABLE == _WRITABLE or not _may_change(found):
                return False
            self._note(path, found.st_ino, mode)
            # The root forgets its descriptors when directories move.
            kept = os.dup(descriptor)
            self._opened[found.st_dev, found.st_ino] = _Opened(kept, mode)
            os.fchmod(kept, mode | _WRITABLE)
            return True
        return False

    def _note(self, path: bytes, inode: int, mode: int) -> None:
        line = b"%o %d %s\n" % (mode, inode, base64.b64encode(path))
        record = os.open(self._record, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(record, line)
            os.fsync(record)
        finally:
            os.close(record)

    def let_be(self, descriptor: int) -> None:
        """The directory is to keep the permissions that it gets now."""
        found = os.fstat(descriptor)
        opened = self._opened.pop((found.st_dev, found.st_ino), None)
        if opened is not None:
            os.close(opened.descriptor)

    def close(self) -> None:
        """Give each the permissions that it had, unless it has got others meanwhile."""
        if not self._opened:
            return
        for opened in self._opened.values():
            with suppress(OSError):
                _close(opened.descriptor, opened.mode)
            os.close(opened.descriptor)
        self._opened.clear()
        with suppress(OSError):
            self._record.unlink()

    def _close_left(self) -> None:
        try:
            lines = self._record.read_bytes().splitlines()
        except FileNotFoundError:
            return
        for line in lines:
            with suppress(OSError, ValueError, ProtocolError):
                mode, inode, path = line.split(b" ")
                descriptor = self._root.directory(check_path(base64.b64decode(path)))
                if os.fstat(descriptor).st_ino == int(inode):
                    _close(descriptor, int(mode, 8))
        self._record.unlink()


def _close(descriptor: int, mode: int) -> None:
    if stat.S_IMODE(os.fstat(descriptor).st_mode) == mode | _WRITABLE:
        os.fchmod(descriptor, mode)


def _may_change(directory: os.stat_result) -> bool:
    """Whether its permissions can be changed and changed back: chmod(2) takes setgid away from
    what has a group of others.
    """
    user = os.geteuid()
    if user and directory.st_mode & stat.S_ISGID:
        ours = {os.getegid(), *os.getgroups()}
        return directory.st_uid == user and directory.st_gid in ours
    return user in {0, directory.st_uid}
