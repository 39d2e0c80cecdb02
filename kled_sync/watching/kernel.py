"""What inotify(7) and fanotify(7) have in common: calls by ctypes, and events to be read."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final

_AT_EMPTY_PATH: Final = 0x1000
# The head of a file_handle.
_HANDLE: Final = struct.Struct("=Ii")
_HANDLE_BYTES_MAX: Final = 128
_READ_BYTES: Final = 256 * 1024
_libc: Final = ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: Any) -> int:
    """Call a function of the C library. Raises OSError; ENOSYS where there is none of that name."""
    function = getattr(_libc, name, None)
    if function is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    result: int = function(*arguments)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def handle_of(directory: int, name: bytes = b"") -> bytes:
    """The file handle of `name` in a directory; without a name, of the directory itself.

    No other file of that filesystem ever has it, as it may have the number of one that is gone.
    Raises OSError where the filesystem, or the system, has none (name_to_handle_at(2)).
    """
    handle = ctypes.create_string_buffer(_HANDLE.size + _HANDLE_BYTES_MAX)
    _HANDLE.pack_into(handle, 0, _HANDLE_BYTES_MAX, 0)
    mount = ctypes.c_int()
    flags = 0 if name else _AT_EMPTY_PATH
    call("name_to_handle_at", directory, name, handle, ctypes.byref(mount), flags)
    return handle_in(handle.raw, 0)


def handle_in(data: bytes, at: int) -> bytes:
    """A file_handle (open_by_handle_at(2)) with its type."""
    size, _ = _HANDLE.unpack_from(data, at)
    return data[at : at + _HANDLE.size + size]


def read_waiting(descriptor: int) -> Iterator[bytes]:
    """What can be read without waiting; each piece is of whole events."""
    with suppress(BlockingIOError):
        while data := os.read(descriptor, _READ_BYTES):
            yield data
