"""Writes a tree below a descriptor: no entry, whatever it is called, is written outside of it.

Entries come from an archive or from a directory that others may write. Each is walked to component
by component without following a link (open(2), O_NOFOLLOW).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Protocol

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_DEPTH = 200
_BLOCK = 1 << 20

Parts = tuple[str, ...]


class Readable(Protocol):
    """Where the content of a file comes from."""

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes; none at the end."""
        ...


class TreeError(Exception):
    """A tree that is not written. `message` says which entry and why."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryMode:
    """What an entry gets besides its content. `mode` are its permissions, `mtime` in seconds."""

    mode: int
    uid: int
    gid: int
    mtime: float


def parts_of(name: str) -> Parts:
    """Split an entry's name. Raises TreeError for one that leads elsewhere."""
    if name.startswith("/") or "\0" in name:
        raise TreeError(f"{name!r} is no relative path")
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if ".." in parts:
        raise TreeError(f"{name!r} has '..' in it")
    return parts


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeLimits:
    """How much is written at the most."""

    entries: int = 5_000_000
    size_bytes: int = 64 << 30


class VolumeTree:
    """A tree that is being written, below the descriptor of a directory."""

    def __init__(self, root: int, limits: TreeLimits, *, still_wanted: Callable[[], None]) -> None:
        self._root = root
        self._limits = limits
        self._entries = self._bytes = 0
        self._still_wanted = still_wanted
        self._directories: list[tuple[Parts, EntryMode]] = []

    def directory(self, parts: Parts, mode: EntryMode) -> None:
        """Make a directory; `mode` is applied by `finish`: it may be one that none may write."""
        self._count(parts)
        with self._below(parts):
            self._directories.append((parts, mode))

    def file(self, parts: Parts, mode: EntryMode, content: Readable) -> None:
        """Write a file; one that stands there is replaced."""
        self._count(parts)
        with self._parent(parts) as (parent, name):
            fd = os.open(name, _NEW, 0o600, dir_fd=parent)
            try:
                while block := content.read(_BLOCK):
                    self._still_wanted()
                    self._bytes += len(block)
                    if self._bytes > self._limits.size_bytes:
                        limit = self._limits.size_bytes >> 30
                        raise TreeError(f"there are more than {limit} GiB")
                    _write_all(fd, block)
                os.fchown(fd, mode.uid, mode.gid)
                os.fchmod(fd, mode.mode)
                os.utime(fd, (mode.mtime, mode.mtime))
            finally:
                os.close(fd)

    def link(self, parts: Parts, mode: EntryMode, target: str) -> None:
        """Write a symbolic link; where it leads is the reader's business."""
        self._count(parts)
        with self._parent(parts) as (parent, name):
            os.symlink(target, name, dir_fd=parent)
            os.chown(name, mode.uid, mode.gid, dir_fd=parent, follow_symlinks=False)

    def hard_link(self, parts: Parts, other: Parts) -> None:
        """Give a file of the tree another name."""
        self._count(parts)
        if parts == other or not other:
            raise TreeError(f"{_shown(parts)} is a link to itself")
        with self._below(other[:-1]) as there, self._parent(parts) as (parent, name):
            try:
                os.link(other[-1], name, src_dir_fd=there, dst_dir_fd=parent, follow_symlinks=False)
            except FileNotFoundError as error:
                raise TreeError(f"{_shown(parts)} is a link to nothing in the tree") from error

    def finish(self) -> None:
        """Give the directories what they get."""
        for parts, mode in reversed(self._directories):
            with self._below(parts) as fd:
                os.fchown(fd, mode.uid, mode.gid)
                os.fchmod(fd, mode.mode)
                os.utime(fd, (mode.mtime, mode.mtime))

    def _count(self, parts: Parts) -> None:
        self._still_wanted()
        self._entries += 1
        if self._entries > self._limits.entries:
            limit = self._limits.entries
            raise TreeError(f"there are more than {limit} entries, at {_shown(parts)}")
        if len(parts) > _MAX_DEPTH + 1:
            raise TreeError(f"directories are nested more than {_MAX_DEPTH} deep")

    @contextmanager
    def _parent(self, parts: Parts) -> Iterator[tuple[int, str]]:
        """The directory of an entry, and its name, at which nothing stands."""
        if not parts:
            raise TreeError("an entry that is no directory has no name")
        with self._below(parts[:-1]) as parent:
            with suppress(FileNotFoundError):
                if stat.S_ISDIR(os.lstat(parts[-1], dir_fd=parent).st_mode):
                    raise TreeError(f"{_shown(parts)} is a directory already")
                os.unlink(parts[-1], dir_fd=parent)
            yield parent, parts[-1]

    @contextmanager
    def _below(self, parts: Parts) -> Iterator[int]:
        """A directory of the tree, made where it is missing."""
        fd = os.dup(self._root)
        try:
            for part in parts:
                with suppress(FileExistsError):
                    os.mkdir(part, 0o755, dir_fd=fd)
                try:
                    below = os.open(part, _DIRECTORY, dir_fd=fd)
                except (NotADirectoryError, OSError) as error:
                    raise TreeError(f"{_shown(parts)}: {part!r}: {error.strerror}") from error
                os.close(fd)
                fd = below
            yield fd
        finally:
            os.close(fd)


def _shown(parts: Parts) -> str:
    return repr("/".join(parts))


def _write_all(fd: int, block: bytes) -> None:
    view = memoryview(block)
    while view:
        view = view[os.write(fd, view) :]
