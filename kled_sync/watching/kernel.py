"""What inotify(7) and fanotify(7) have in common: calls by ctypes, and events to be read."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final

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


def read_waiting(descriptor: int) -> Iterator[bytes]:
    """What can be read without waiting; each piece is of whole events."""
    with suppress(BlockingIOError):
        while data := os.read(descriptor, _READ_BYTES):
            yield data
