"""System calls that Python's `os` lacks: renameat2(2) and syncfs(2), by ctypes.

Where the system has none of it the functions say so by OSError(ENOSYS), and callers do without.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from typing import Final

# <linux/fs.h>; on macOS <sys/stdio.h>, which has the two the other way round.
_NOREPLACE, _EXCHANGE = (1, 2) if sys.platform != "darwin" else (4, 2)
_UNSUPPORTED: Final = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)
_libc: Final = ctypes.CDLL(None, use_errno=True)
_rename: Final = getattr(_libc, "renameatx_np" if sys.platform == "darwin" else "renameat2", None)
_syncfs: Final = getattr(_libc, "syncfs", None)


def exchange(from_fd: int, from_name: bytes, to_fd: int, to_name: bytes) -> None:
    """Swap two names in one step. Raises OSError; ENOSYS where that cannot be."""
    _call_rename(from_fd, from_name, to_fd, to_name, _EXCHANGE)


def rename_new(from_fd: int, from_name: bytes, to_fd: int, to_name: bytes) -> None:
    """Rename, never over something. Raises OSError, FileExistsError."""
    try:
        _call_rename(from_fd, from_name, to_fd, to_name, _NOREPLACE)
    except OSError as exc:
        if exc.errno != errno.ENOSYS:
            raise
        os.link(from_name, to_name, src_dir_fd=from_fd, dst_dir_fd=to_fd, follow_symlinks=False)
        os.unlink(from_name, dir_fd=from_fd)


def sync_filesystem(descriptor: int) -> None:
    """Make durable what was written to the filesystem of `descriptor`."""
    if _syncfs is None or _syncfs(descriptor):
        os.sync()


def _call_rename(from_fd: int, from_name: bytes, to_fd: int, to_name: bytes, flags: int) -> None:
    if _rename is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if _rename(from_fd, from_name, to_fd, to_name, flags):
        code = ctypes.get_errno()
        code = errno.ENOSYS if code in _UNSUPPORTED else code
        raise OSError(code, os.strerror(code), os.fsdecode(to_name))
