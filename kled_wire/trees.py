"""Removes directories with all that is in them, however deep they go; follows no link.

Trees that other people's programs have made are removed here. shutil.rmtree of Python 3.11 and 3.12
calls itself for each level and raises RecursionError at a thousand; longer paths than PATH_MAX have
no name. So every directory is moved to the first level before it is emptied.
"""

from __future__ import annotations

import os
import secrets
import stat
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Final

_Name = str | bytes | Path

_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_tree(path: _Name, *, dir_fd: int | None = None) -> None:
    """Remove a directory; one that is gone is no error. Blocks.

    Raises OSError, the first one, once all is removed that can be.
    """
    try:
        with opened_directory(path, dir_fd) as descriptor:
            empty_directory(descriptor)
        os.rmdir(path, dir_fd=dir_fd)
    except FileNotFoundError:
        return  # gone


def discard_tree(path: _Name, *, dir_fd: int | None = None) -> None:
    """Remove a directory. Blocks. What cannot be removed stays."""
    with suppress(OSError):
        remove_tree(path, dir_fd=dir_fd)


def empty_directory(descriptor: int, keep: Collection[str] = ()) -> None:
    """Remove all that is in an opened directory, but the names of `keep`. Blocks.

    Raises OSError, the first one, once all is removed that can be.
    """
    errors: list[OSError] = []
    prefix, numbers = f".removed-{secrets.token_hex(8)}-", count()
    waiting = _unlink_files(descriptor, keep, errors)
    while waiting:
        name = waiting.pop()
        with _noted(errors), opened_directory(name, descriptor) as directory:
            for inner in _unlink_files(directory, (), errors):
                moved = f"{prefix}{next(numbers)}"
                # A directory that we may not write to cannot be moved.
                with _noted(errors), opened_directory(inner, directory):
                    os.rename(inner, moved, src_dir_fd=directory, dst_dir_fd=descriptor)
                    waiting.append(moved)
        with _noted(errors):
            os.rmdir(name, dir_fd=descriptor)
    if errors:
        raise errors[0]


@contextmanager
def opened_directory(name: _Name, parent: int | None) -> Iterator[int]:
    """Open a directory, to write in it too; its mode is changed where needed. Raises OSError."""
    try:
        opened = os.open(name, _FLAGS, dir_fd=parent)
    except PermissionError:
        _allow(name, parent)
        opened = os.open(name, _FLAGS, dir_fd=parent)
    try:
        with suppress(PermissionError):  # another user's, in which we may write perhaps
            os.fchmod(opened, stat.S_IRWXU)
        yield opened
    finally:
        os.close(opened)


def _allow(name: _Name, parent: int | None) -> None:
    """Let the owner of a directory open it. Raises OSError."""
    if sys.platform != "linux":
        os.chmod(name, stat.S_IRWXU, dir_fd=parent, follow_symlinks=False)
        return
    # chmod(2) follows links; a descriptor of O_PATH cannot become one, and needs no permission.
    handle = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        Path(f"/proc/self/fd/{handle}").chmod(stat.S_IRWXU)
    finally:
        os.close(handle)


def _unlink_files(directory: int, keep: Collection[str], errors: list[OSError]) -> list[str]:
    """Remove what is no directory; the names of those that are."""
    with os.scandir(directory) as entries:
        names = [(each.name, each.is_dir(follow_symlinks=False)) for each in entries]
    found = []
    for name, is_directory in names:
        if name in keep:
            continue
        if is_directory:
            found.append(name)
            continue
        with _noted(errors):
            os.unlink(name, dir_fd=directory)
    return found


@contextmanager
def _noted(errors: list[OSError]) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        pass  # somebody else removes it too
    except OSError as error:
        errors.append(error)
