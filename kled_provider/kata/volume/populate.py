"""Fills a new volume from a directory or an archive of a place that the owner allows.

Only files, directories and links are taken. What is read is read below descriptors, so that nobody
who may write there makes us read elsewhere.
"""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Callable
from dataclasses import dataclass

from kled_provider.kata.paths.beneath import Opened, PathKind
from kled_provider.kata.volume.tree import (
    EntryMode,
    Parts,
    TreeError,
    TreeLimits,
    VolumeTree,
    parts_of,
)

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_PERMISSIONS = 0o777  # nothing becomes set-user-id by being copied
_MOST_ID = 2**32 - 2  # of uid_t, without the one that means "no change" (chown(2))
_LATEST_S = 2.0**33  # what every file system can keep is earlier
_LIMITS = TreeLimits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ownership:
    """Whose the copies are; None: as they were."""

    uid: int | None = None
    gid: int | None = None

    def mode(self, mode: int, uid: int, gid: int, mtime: float) -> EntryMode:
        """What an entry gets that was so. Raises TreeError."""
        uid = uid if self.uid is None else self.uid
        gid = gid if self.gid is None else self.gid
        if not (0 <= uid <= _MOST_ID and 0 <= gid <= _MOST_ID):
            raise TreeError(f"an entry belongs to {uid}:{gid}, which is no user and group")
        mtime = min(max(0.0, mtime), _LATEST_S)
        return EntryMode(mode=mode & _PERMISSIONS, uid=uid, gid=gid, mtime=mtime)


def populate(
    target: int,
    source: Opened,
    ownership: Ownership,
    *,
    still_wanted: Callable[[], None],
    limits: TreeLimits = _LIMITS,
) -> None:
    """Copy a directory, or unpack an archive (tar, also compressed), below `target`.

    Blocks: for a thread. `still_wanted` is called often and may raise. Raises TreeError, OSError.
    """
    tree = VolumeTree(target, limits, still_wanted=still_wanted)
    fd = source.reopen(os.O_RDONLY | os.O_NONBLOCK)
    try:
        if source.kind is PathKind.DIRECTORY:
            _copy(tree, fd, (), ownership)
        else:
            _unpack(tree, fd, ownership)
    finally:
        os.close(fd)
    tree.finish()


def _copy(tree: VolumeTree, source: int, parts: Parts, ownership: Ownership) -> None:
    for name in sorted(os.listdir(source)):
        found = os.lstat(name, dir_fd=source)
        here = (*parts, name)
        mode = ownership.mode(found.st_mode, found.st_uid, found.st_gid, found.st_mtime)
        if stat.S_ISLNK(found.st_mode):
            tree.link(here, mode, os.readlink(name, dir_fd=source))
            continue
        if not (stat.S_ISDIR(found.st_mode) or stat.S_ISREG(found.st_mode)):
            raise TreeError(f"{'/'.join(here)!r} is a device, socket or pipe")
        fd = os.open(name, _READ, dir_fd=source)
        try:
            if stat.S_ISDIR(os.fstat(fd).st_mode):
                tree.directory(here, mode)
                _copy(tree, fd, here, ownership)
            else:
                with os.fdopen(fd, "rb", buffering=0, closefd=False) as content:
                    tree.file(here, mode, content)
        finally:
            os.close(fd)


def _unpack(tree: VolumeTree, fd: int, ownership: Ownership) -> None:
    try:
        with (
            os.fdopen(fd, "rb", closefd=False) as file,
            tarfile.open(fileobj=file, mode="r|*") as archive,
        ):
            for member in archive:
                _unpack_one(tree, archive, member, ownership)
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise TreeError(f"it is no archive that can be read: {error}") from error


def _unpack_one(
    tree: VolumeTree, archive: tarfile.TarFile, member: tarfile.TarInfo, ownership: Ownership
) -> None:
    parts = parts_of(member.name)
    mode = ownership.mode(member.mode, member.uid, member.gid, float(member.mtime))
    if member.isdir():
        if parts:
            tree.directory(parts, mode)
    elif member.issym():
        tree.link(parts, mode, member.linkname)
    elif member.islnk():
        tree.hard_link(parts, parts_of(member.linkname))
    elif member.isreg():
        content = archive.extractfile(member)
        assert content is not None
        tree.file(parts, mode, content)
    else:
        raise TreeError(f"{member.name!r} is a device, socket or pipe")
