"""A directory of one's own: nobody else may enter it, also where it was there before."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Final

_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def make_private(directory: Path) -> int | None:
    """Make a directory for us alone, or close one that is there; the mode it was open with.

    Blocks. Raises OSError, also for one that is everybody's, like /tmp.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    mode = stat.S_IMODE(directory.stat().st_mode)
    if mode & stat.S_ISVTX:
        raise OSError(
            errno.EPERM,
            "it is shared by all users; choose a directory for the agent alone",
            os.fspath(directory),
        )
    if not mode & _OTHERS:
        return None
    directory.chmod(mode & ~_OTHERS)
    return mode & 0o777
