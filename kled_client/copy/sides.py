"""The two sides of a copy: this machine's files, and a workspace's over sftp.

Paths and names are bytes, as the systems have them: not every name is text. Raises OSError and
asyncssh.SFTPError as they come; `transfer.py` says what they mean.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from enum import Enum
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeVar

import asyncssh
import trio

from kled_client.ssh.connection import aio

T = TypeVar("T")


class FileKind(Enum):
    """What a name is of; OTHER are devices, sockets and FIFOs."""

    FILE = "file"
    DIRECTORY = "directory"
    LINK = "link"
    OTHER = "other"


class Found(NamedTuple):
    """What is at a path; times are seconds since the epoch."""

    kind: FileKind
    size: int
    mode: int
    accessed_at: float
    changed_at: float


class Side(Protocol):
    """What copying needs of the files on one side."""

    async def look(self, path: bytes, *, follow: bool) -> Found | None:
        """What is there; None when nothing is."""

    async def names(self, path: bytes) -> list[tuple[bytes, Found]]:
        """What is in a directory; links are not followed."""

    async def real(self, path: bytes) -> bytes:
        """The path without links."""

    async def make_dir(self, path: bytes) -> None:
        """Make one directory."""

    async def read_link(self, path: bytes) -> bytes:
        """Where a link leads."""

    async def make_link(self, target: bytes, path: bytes) -> None:
        """Make a symbolic link."""

    async def replace(self, path: bytes, final: bytes) -> None:
        """Rename, in place of what `final` is now."""

    async def remove(self, path: bytes) -> None:
        """Remove a file or a link."""

    async def dress(self, path: bytes, found: Found) -> None:
        """Give a directory the mode and the times of `found`."""


class Here:
    """The machine that `kled` runs on."""

    async def look(self, path: bytes, *, follow: bool) -> Found | None:
        try:
            return _of_stat(await _thread(os.stat, path, follow_symlinks=follow))
        except (FileNotFoundError, NotADirectoryError):
            return None

    async def names(self, path: bytes) -> list[tuple[bytes, Found]]:
        return await _thread(_names_here, path)

    async def real(self, path: bytes) -> bytes:
        return await _thread(os.path.realpath, path)

    async def make_dir(self, path: bytes) -> None:
        await _thread(os.mkdir, path)

    async def read_link(self, path: bytes) -> bytes:
        return await _thread(os.readlink, path)

    async def make_link(self, target: bytes, path: bytes) -> None:
        await _thread(os.symlink, target, path)

    async def replace(self, path: bytes, final: bytes) -> None:
        await _thread(os.replace, path, final)

    async def remove(self, path: bytes) -> None:
        await _thread(os.unlink, path)

    async def dress(self, path: bytes, found: Found) -> None:
        await _thread(os.utime, path, (found.accessed_at, found.changed_at))
        await _thread(os.chmod, path, found.mode)


class There:
    """A workspace."""

    def __init__(self, sftp: asyncssh.SFTPClient) -> None:
        self._sftp = sftp

    async def look(self, path: bytes, *, follow: bool) -> Found | None:
        try:
            found = await aio(self._sftp.stat, path, follow_symlinks=follow)
        except (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath):
            return None
        return _of_attributes(found)

    async def names(self, path: bytes) -> list[tuple[bytes, Found]]:
        return names_listed(await aio(self._sftp.readdir, path))

    async def real(self, path: bytes) -> bytes:
        return _bytes(await aio(self._sftp.realpath, path))

    async def make_dir(self, path: bytes) -> None:
        await aio(self._sftp.mkdir, path)

    async def read_link(self, path: bytes) -> bytes:
        return _bytes(await aio(self._sftp.readlink, path))

    async def make_link(self, target: bytes, path: bytes) -> None:
        await aio(self._sftp.symlink, target, path)

    async def replace(self, path: bytes, final: bytes) -> None:
        await aio(self._sftp.posix_rename, path, final)

    async def remove(self, path: bytes) -> None:
        await aio(self._sftp.remove, path)

    async def dress(self, path: bytes, found: Found) -> None:
        attributes = asyncssh.SFTPAttrs(
            permissions=found.mode, atime=int(found.accessed_at), mtime=int(found.changed_at)
        )
        await aio(self._sftp.setstat, path, attributes)


def names_listed(listed: Sequence[asyncssh.SFTPName]) -> list[tuple[bytes, Found]]:
    """The names in an answer of a workspace, each once; what would lead elsewhere is none."""
    found = {_bytes(entry.filename): _of_attributes(entry.attrs) for entry in listed}
    return [(n, f) for n, f in found.items() if n not in {b"", b".", b".."} and b"/" not in n]


async def _thread(function: Callable[..., T], *args: Any, **options: Any) -> T:
    return await trio.to_thread.run_sync(partial(function, *args, **options))


def _bytes(name: bytes | str) -> bytes:
    """What a client without a path encoding gives."""
    assert isinstance(name, bytes)
    return name


def _names_here(path: bytes) -> list[tuple[bytes, Found]]:
    with os.scandir(path) as entries:
        return [(e.name, _of_stat(e.stat(follow_symlinks=False))) for e in entries]


def _of_stat(found: os.stat_result) -> Found:
    return _found(found.st_mode, found.st_size, found.st_atime, found.st_mtime)


def _of_attributes(found: asyncssh.SFTPAttrs) -> Found:
    return _found(found.permissions or 0, found.size or 0, found.atime or 0, found.mtime or 0)


def _found(mode: int, size: int, accessed_at: float, changed_at: float) -> Found:
    tests = {
        FileKind.FILE: stat.S_ISREG,
        FileKind.DIRECTORY: stat.S_ISDIR,
        FileKind.LINK: stat.S_ISLNK,
    }
    kind = next((kind for kind, test in tests.items() if test(mode)), FileKind.OTHER)
    return Found(kind, size, stat.S_IMODE(mode), accessed_at, changed_at)
