"""Packs a directory of this machine as a tar: the layer of an image, or an OCI layout.

What is read is read below descriptors, so that nobody who may write there makes us read elsewhere.
The same tree gives the same bytes, and so the same layer. Devices, sockets and pipes are left out:
a container has its own `/dev`.
"""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Callable
from typing import BinaryIO, Final

from kled_provider.kata.image.manifest import ImageFormatError

_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_MAX_DEPTH: Final = 200
_CAPABILITY: Final = "security.capability"  # of files; capabilities(7)


def pack_directory(
    source: int, target: BinaryIO, most_bytes: int, still_wanted: Callable[[], None]
) -> None:
    """Write the tree of a directory's descriptor to a file, up to `most_bytes` of it.

    Blocks: for a thread. `still_wanted` is called for each entry and may raise. Raises
    ImageFormatError, OSError.
    """
    with tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as tar:
        _Packing(tar, target, most_bytes, still_wanted).directory(source, "", 0)


class _Packing:
    """One tree that is packed. Hard links are known by their inodes."""

    def __init__(
        self,
        tar: tarfile.TarFile,
        target: BinaryIO,
        most_bytes: int,
        still_wanted: Callable[[], None],
    ) -> None:
        self._tar = tar
        self._target = target
        self._most = most_bytes
        self._still_wanted = still_wanted
        self._names: dict[tuple[int, int], str] = {}

    def directory(self, source: int, path: str, depth: int) -> None:
        """Pack what is in a directory."""
        if depth > _MAX_DEPTH:
            raise ImageFormatError(f"directories are nested more than {_MAX_DEPTH} deep")
        for name in sorted(os.listdir(source)):
            self._still_wanted()
            found = os.lstat(name, dir_fd=source)
            here = f"{path}{name}"
            if stat.S_ISLNK(found.st_mode):
                entry = _entry(here, found, tarfile.SYMTYPE)
                entry.linkname = os.readlink(name, dir_fd=source)
                self._tar.addfile(entry)
            elif stat.S_ISDIR(found.st_mode) or stat.S_ISREG(found.st_mode):
                fd = os.open(name, _READ, dir_fd=source)
                try:
                    self._opened(fd, here, depth)
                finally:
                    os.close(fd)

    def _opened(self, fd: int, path: str, depth: int) -> None:
        """Pack what was opened, which may be another thing than what was looked at."""
        found = os.fstat(fd)
        if stat.S_ISDIR(found.st_mode):
            self._tar.addfile(_entry(path, found, tarfile.DIRTYPE))
            self.directory(fd, f"{path}/", depth + 1)
        elif stat.S_ISREG(found.st_mode):
            self._file(fd, path, found)

    def _file(self, fd: int, path: str, found: os.stat_result) -> None:
        first = self._names.setdefault((found.st_dev, found.st_ino), path)
        if first != path:
            entry = _entry(path, found, tarfile.LNKTYPE)
            entry.linkname = first
            self._tar.addfile(entry)
            return
        entry = _entry(path, found, tarfile.REGTYPE)
        entry.size = found.st_size
        if _CAPABILITY in os.listxattr(fd):
            value = os.getxattr(fd, _CAPABILITY)
            entry.pax_headers = {f"SCHILY.xattr.{_CAPABILITY}": os.fsdecode(value)}
        if self._target.tell() + entry.size > self._most:
            raise ImageFormatError(f"the directory has over {self._most} bytes")
        with os.fdopen(fd, "rb", closefd=False) as content:
            self._tar.addfile(entry, content)


def _entry(path: str, found: os.stat_result, kind: bytes) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(path)
    entry.type = kind
    entry.mode = stat.S_IMODE(found.st_mode)
    entry.uid, entry.gid = found.st_uid, found.st_gid
    entry.mtime = int(found.st_mtime)
    return entry
