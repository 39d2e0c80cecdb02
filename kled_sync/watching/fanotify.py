"""fanotify(7), by ctypes: one mark for a whole filesystem, where a user's watches have run out.

It needs CAP_SYS_ADMIN, and tells of every directory of the filesystem: by its file handle, so that
those of others, which nobody added here, are known by that and left alone.
"""

from __future__ import annotations

import ctypes
import os
import struct
from contextlib import suppress
from typing import Final

from kled_sync.watching.filesystem import nearest_directory
from kled_sync.watching.kernel import call, handle_in, handle_of, read_waiting

_CLOEXEC, _NONBLOCK, _UNLIMITED_QUEUE, _REPORT_DIR_FID, _REPORT_NAME = 0x1, 0x2, 0x10, 0x400, 0x800
_MARK_ADD, _MARK_FILESYSTEM = 0x1, 0x100
_ATTRIB, _MODIFY, _CLOSE_WRITE, _MOVED, _CREATE, _DELETE = 0x4, 0x2, 0x8, 0xC0, 0x100, 0x200
_OVERFLOW, _ONDIR = 0x4000, 0x40000000
_MASK: Final = _ATTRIB | _MODIFY | _CLOSE_WRITE | _MOVED | _CREATE | _DELETE | _ONDIR
# struct fanotify_event_metadata; fanotify_event_info_header; an fsid.
_EVENT: Final = struct.Struct("=IBBHQii")
_INFO: Final = struct.Struct("=BBH")
_DIRECTORY_AND_NAME, _DIRECTORY = 2, 3
_FSID_BYTES: Final = 8


class Fanotify:
    """Watches one root's file system; otherwise as `Inotify`. Blocks nowhere; for one thread."""

    # There is no limit.
    unwatched = overflows = 0

    def __init__(self, root: bytes) -> None:
        """Raises OSError: EPERM for who is not root, ENOSYS where there is none."""
        flags = _CLOEXEC | _NONBLOCK | _UNLIMITED_QUEUE | _REPORT_DIR_FID | _REPORT_NAME
        self.descriptor = call("fanotify_init", flags, os.O_RDONLY)
        self._paths: dict[bytes, bytes] = {}
        try:
            how, there = _MARK_ADD | _MARK_FILESYSTEM, nearest_directory(root)
            call("fanotify_mark", self.descriptor, how, ctypes.c_uint64(_MASK), -1, there)
        except OSError:
            os.close(self.descriptor)
            raise

    def close(self) -> None:
        os.close(self.descriptor)

    def add(self, path: bytes, directory: int) -> None:
        """Know the directory that `directory` is a descriptor of, called `path` from now on."""
        with suppress(OSError):  # such a filesystem has no handles
            self._paths[handle_of(directory)] = path

    def take(self) -> tuple[set[bytes], bool]:
        """Directories to look at, and whether that is all of them."""
        dirty: set[bytes] = set()
        everything = False
        for data in read_waiting(self.descriptor):
            at = 0
            while at < len(data):
                length, _, _, head, mask, _, _ = _EVENT.unpack_from(data, at)
                everything = everything or bool(mask & _OVERFLOW)
                path = self._path(data, at + head, at + length)
                if path is not None:
                    dirty.add(path)
                at += length
        return dirty, everything

    def _path(self, data: bytes, at: int, end: int) -> bytes | None:
        """The directory that an event is of; None where it is not ours."""
        while at < end:
            kind, _, length = _INFO.unpack_from(data, at)
            if kind in {_DIRECTORY_AND_NAME, _DIRECTORY}:
                return self._paths.get(handle_in(data, at + _INFO.size + _FSID_BYTES))
            at += length
        return None


def open_fanotify(root: bytes) -> Fanotify | None:
    """None where this user may not, or the system cannot."""
    try:
        return Fanotify(root)
    except OSError:
        return None
