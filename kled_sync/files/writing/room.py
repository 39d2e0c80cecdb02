"""How much may be written to a disk: a reserve stays free, for other programs."""

from __future__ import annotations

import errno
import os
from typing import Final

# What is left free, so that others do not meet a full disk first: this part of a small disk.
_RESERVE_BYTES: Final = 32 * 1024 * 1024
_RESERVE_PART: Final = 0.05


def room_bytes(descriptor: int) -> int:
    """What may be written to the filesystem of `descriptor`; negative in its reserve."""
    disk = os.fstatvfs(descriptor)
    reserve = min(_RESERVE_BYTES, int(disk.f_blocks * disk.f_frsize * _RESERVE_PART))
    return disk.f_bavail * disk.f_frsize - reserve


def check_room(descriptor: int) -> None:
    """Raises OSError(ENOSPC) where nothing more may be written."""
    if room_bytes(descriptor) <= 0:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
