"""Reads and sets owners, special permission bits and extended attributes of what is in a root.

By descriptors that lead through no link, as everything below a root. Names of users and groups are
looked up at the side that has them.
"""

from __future__ import annotations

import errno
import grp
import os
import pwd
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Final

from kled_sync.decide.attributes import (
    FILE_XATTRS_BYTES_MAX,
    KEEP,
    AttributesToSet,
    FileAttributes,
    is_xattr,
)
from kled_sync.files.root import Root

_NO_XATTRS: Final = (errno.ENOTSUP, errno.EOPNOTSUPP)
_TOO_LARGE: Final = "its extended attributes are larger than 256 KiB"
_GONE: Final = "it has gone meanwhile"


def read_attributes(root: Root, path: bytes, *, xattrs: bool) -> FileAttributes:
    """What `path` has; where that cannot be read, the words why."""
    try:
        found = root.stat(path)
        if found is None:
            return _unknown(path, _GONE)
        values: dict[bytes, bytes] = {}
        if xattrs and not stat.S_ISLNK(found.st_mode):
            with _opened(root, path, found) as descriptor:
                values = _xattrs(descriptor)
        if sum(len(name) + len(value) for name, value in values.items()) > FILE_XATTRS_BYTES_MAX:
            return _unknown(path, _TOO_LARGE)
    except OSError as exc:
        return _unknown(path, exc.strerror or str(exc))
    is_linked = stat.S_ISREG(found.st_mode) and found.st_nlink > 1
    return FileAttributes(
        path,
        found.st_ino if is_linked else 0,
        stat.S_IMODE(found.st_mode),
        found.st_uid,
        found.st_gid,
        _user(found.st_uid),
        _group(found.st_gid),
        values,
    )


def copy_attributes(source: int, target: int) -> None:
    """Give an open file all that another has; what this user may not give is left out."""
    with suppress(OSError):
        found = os.fstat(source)
        mode = stat.S_IMODE(found.st_mode)
        ids = found.st_uid, found.st_gid
        change = AttributesToSet(b"", mode, *ids, "", "", _xattrs(source), sets_xattrs=True)
        list(_set(target, change, *ids))


def set_attributes(root: Root, change: AttributesToSet) -> str:
    """Why not all could be set; "" where it was."""
    try:
        found = root.stat(change.path)
        if found is None:
            return _GONE
        uid = _number(change.uid, change.user, _uid)
        gid = _number(change.gid, change.group, _gid)
        if stat.S_ISLNK(found.st_mode):
            directory, name = root.locate(change.path)
            return _chown_link(directory, name, uid, gid)
        with _opened(root, change.path, found) as descriptor:
            return "; ".join(_set(descriptor, change, uid, gid))
    except OSError as exc:
        return exc.strerror or str(exc)


def _chown_link(directory: int, name: bytes, uid: int, gid: int) -> str:
    if (uid, gid) != (KEEP, KEEP):
        os.chown(name, uid, gid, dir_fd=directory, follow_symlinks=False)
    return ""


def _set(descriptor: int, change: AttributesToSet, uid: int, gid: int) -> Iterator[str]:
    """Words for each part that could not be set.

    The owner first, since that takes capabilities and special bits away; those come last: a program
    must not run as somebody whose it is only for a moment. An ACL and the mode say the same of the
    group.
    """
    owned = True
    owner, group = change.user or str(uid), change.group or str(gid)
    for what, ids in ((f"owner {owner}", (uid, KEEP)), (f"group {group}", (KEEP, gid))):
        if ids != (KEEP, KEEP):
            try:
                os.fchown(descriptor, *ids)
            except OSError as exc:
                owned = False
                yield f"it cannot have the {what}: {exc.strerror}"
    if change.sets_xattrs:
        yield from _set_xattrs(descriptor, change.xattrs)
    found = os.fstat(descriptor)
    mode = change.mode
    if mode == KEEP or mode == stat.S_IMODE(found.st_mode):
        return
    if not owned:
        # The file still belongs to another user, as whom it must not run.
        mode &= ~(stat.S_ISUID | stat.S_ISGID)
    os.fchmod(descriptor, mode)
    if stat.S_IMODE(os.fstat(descriptor).st_mode) != mode:
        yield f"it cannot have the permissions {mode:o}"


def _set_xattrs(descriptor: int, wanted: dict[bytes, bytes]) -> Iterator[str]:
    if sys.platform != "linux":
        if wanted:
            yield "extended attributes are not kept on this system"
        return
    present = _xattrs(descriptor)
    changed = [name for name, value in wanted.items() if present.get(name) != value]
    for name in changed:
        try:
            os.setxattr(descriptor, name, wanted[name])
        except OSError as exc:
            yield f"{_shown(name)} cannot be set: {exc.strerror}"
    for name in present.keys() - wanted.keys():
        try:
            os.removexattr(descriptor, name)
        except OSError as exc:
            yield f"{_shown(name)} cannot be removed: {exc.strerror}"


def _xattrs(descriptor: int) -> dict[bytes, bytes]:
    """Those that this process may bring over; none where the filesystem has none."""
    if sys.platform != "linux":
        return {}
    try:
        names = map(os.fsencode, os.listxattr(descriptor))
    except OSError as exc:
        if exc.errno in _NO_XATTRS:
            return {}
        raise
    is_root = os.geteuid() == 0
    return {
        name: os.getxattr(descriptor, name) for name in names if is_xattr(name, is_root=is_root)
    }


@contextmanager
def _opened(root: Root, path: bytes, found: os.stat_result) -> Iterator[int]:
    if stat.S_ISDIR(found.st_mode):
        yield root.directory(path)
        return
    descriptor = root.open_file(path)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _unknown(path: bytes, words: str) -> FileAttributes:
    return FileAttributes(path, 0, 0, 0, 0, "", "", {}, words)


def _number(number: int, name: str, find: Callable[[str], int | None]) -> int:
    """The number of `name` here; the other side's where nobody has that name."""
    if number == KEEP or not name:
        return number
    here = find(name)
    return number if here is None else here


@lru_cache(maxsize=256)
def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""


@lru_cache(maxsize=256)
def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return ""


@lru_cache(maxsize=256)
def _uid(name: str) -> int | None:
    try:
        return pwd.getpwnam(name).pw_uid
    except (KeyError, ValueError):
        return None


@lru_cache(maxsize=256)
def _gid(name: str) -> int | None:
    try:
        return grp.getgrnam(name).gr_gid
    except (KeyError, ValueError):
        return None


def _shown(name: bytes) -> str:
    return name.decode("ascii", "backslashreplace")
