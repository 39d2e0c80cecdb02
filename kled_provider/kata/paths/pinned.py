"""Pins what a descriptor names at a path of our own, by a bind mount (mount(2), umount2(2)).

An OCI runtime takes paths, and resolves them once more at each start of the task. A directory of a
template's choice is therefore mounted below the state directory, which only root may write, and
the runtime is given that place: whatever happens to the original path, it stays what was checked.
"""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

from kled_provider.kata.paths.beneath import Opened, PathKind

_MS_BIND = 4096  # linux/mount.h
_MS_PRIVATE = 1 << 18
_MNT_DETACH = 2
_UMOUNT_NOFOLLOW = 8
_LIBC = ctypes.CDLL(None, use_errno=True)


def pin(opened: Opened, place: Path) -> None:
    """Mount what was opened at `place`, which is made; what is pinned there already is replaced.

    Raises OSError.
    """
    unpin(place)
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if opened.kind is PathKind.DIRECTORY:
        place.mkdir(mode=0o700)
    else:
        place.touch(mode=0o600, exist_ok=False)
    try:
        _mount(opened.handle, place, _MS_BIND)
        _mount(None, place, _MS_PRIVATE)
    except OSError:
        unpin(place)
        raise


def unpin(place: Path) -> None:
    """Take away what is pinned at `place`, and the place; nothing there is no error.

    Raises OSError.
    """
    while _unmount(place):
        pass
    try:
        if place.is_dir() and not place.is_symlink():
            place.rmdir()  # never what is in it: were it still mounted, it would not be empty
        else:
            place.unlink(missing_ok=True)
    except FileNotFoundError:
        return


def _mount(source: str | None, target: Path, flags: int) -> None:
    encoded = source.encode() if source else None
    if _LIBC.mount(encoded, os.fsencode(target), None, flags, None):
        raise _error(target)


def _unmount(place: Path) -> bool:
    """Whether something was mounted there."""
    if not _LIBC.umount2(os.fsencode(place), _MNT_DETACH | _UMOUNT_NOFOLLOW):
        return True
    error = _error(place)
    if error.errno in (errno.EINVAL, errno.ENOENT):  # no mount point; no such path
        return False
    raise error


def _error(path: Path) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number), str(path))
