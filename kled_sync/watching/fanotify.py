"""fanotify(7), by ctypes: one mark for a whole filesystem, where a user's watches have run out.

It needs CAP_SYS_ADMIN, and tells of every directory of the filesystem: by its file handle, so that
those of others, which nobody added here, are known by that and left alone.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from typing import Final

_CLOEXEC, _NONBLOCK, _UNLIMITED_QUEUE, _REPORT_DIR_FID, _REPORT_NAME = 0x1, 0x2, 0x10, 0x400, 0x800
_MARK_ADD, _MARK_FILESYSTEM = 0x1, 0x100
_ATTRIB, _MODIFY, _CLOSE_WRITE, _MOVED, _CREATE, _DELETE = 0x4, 0x2, 0x8, 0xC0, 0x100, 0x200
_OVERFLOW, _ONDIR = 0x4000, 0x40000000
_MASK: Final = _ATTRIB | _MODIFY | _CLOSE_WRITE | _MOVED | _CREATE | _DELETE | _ONDIR
_AT_EMPTY_PATH: Final = 0x1000
# struct fanotify_event_metadata; fanotify_event_info_header; fsid and the head of a file_handle.
_EVENT: Final = struct.Struct("=IBBHQii")
_INFO: Final = struct.Struct("=BBH")
_DIRECTORY_AND_NAME, _DIRECTORY = 2, 3
_FSID_BYTES: Final = 8
_HANDLE: Final = struct.Struct("=Ii")
_HANDLE_BYTES_MAX: Final = 128
_READ_BYTES: Final = 256 * 1024
_libc: Final = ctypes.CDLL(None, use_errno=True)


class Fanotify:
    """Of one root's filesystem; otherwise as `Inotify`. Blocks nowhere; for one thread."""

    # There is no limit.
    unwatched = 0

    def __init__(self, root: bytes) -> None:
        """Raises OSError: EPERM for who is not root, ENOSYS where there is none."""
        if not hasattr(_libc, "fanotify_init"):
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        flags = _CLOEXEC | _NONBLOCK | _UNLIMITED_QUEUE | _REPORT_DIR_FID | _REPORT_NAME
        self.descriptor = _checked(_libc.fanotify_init(flags, os.O_RDONLY))
        self._paths: dict[bytes, bytes] = {}
        try:
            _checked(
                _libc.fanotify_mark(
                    self.descriptor,
                    _MARK_ADD | _MARK_FILESYSTEM,
                    ctypes.c_uint64(_MASK),
                    -1,
                    root,
                )
            )
        except OSError:
            os.close(self.descriptor)
            raise

    def close(self) -> None:
        os.close(self.descriptor)

    def add(self, path: bytes, directory: int) -> None:
        """Know the directory that `directory` is a descriptor of, called `path` from now on."""
        handle = ctypes.create_string_buffer(_HANDLE.size + _HANDLE_BYTES_MAX)
        _HANDLE.pack_into(handle, 0, _HANDLE_BYTES_MAX, 0)
        mount = ctypes.c_int()
        empty = b""
        if not _libc.name_to_handle_at(
            directory, empty, handle, ctypes.byref(mount), _AT_EMPTY_PATH
        ):
            self._paths[_handle(handle.raw, 0)] = path

    def take(self) -> tuple[set[bytes], bool]:
        """Directories to look at, and whether that is all of them."""
        dirty: set[bytes] = set()
        everything = False
        while True:
            try:
                data = os.read(self.descriptor, _READ_BYTES)
            except BlockingIOError:
                return dirty, everything
            at = 0
            while at < len(data):
                length, _, _, head, mask, _, _ = _EVENT.unpack_from(data, at)
                everything = everything or bool(mask & _OVERFLOW)
                path = self._path(data, at + head, at + length)
                if path is not None:
                    dirty.add(path)
                at += length

    def _path(self, data: bytes, at: int, end: int) -> bytes | None:
        """The directory that an event is of; None where it is not ours."""
        while at < end:
            kind, _, length = _INFO.unpack_from(data, at)
            if kind in {_DIRECTORY_AND_NAME, _DIRECTORY}:
                return self._paths.get(_handle(data, at + _INFO.size + _FSID_BYTES))
            at += length
        return None


def _handle(data: bytes, at: int) -> bytes:
    """A file_handle (open_by_handle_at(2)) with its type."""
    size, _ = _HANDLE.unpack_from(data, at)
    return data[at : at + _HANDLE.size + size]


def _checked(result: int) -> int:
    """Raises OSError."""
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def open_fanotify(root: bytes) -> Fanotify | None:
    """None where this user may not, or the system cannot."""
    try:
        return Fanotify(root)
    except OSError:
        return None
