"""Detects filesystems on which other machines change files without an event here."""

from __future__ import annotations

import os
from typing import Final

_REMOTE: Final = frozenset({b"nfs", b"nfs4", b"cifs", b"smb3", b"9p", b"virtiofs", b"ceph", b"afs"})


def remote_words(path: bytes) -> str:
    """What is to be known about events below `path`; empty where all raise some."""
    kind = filesystem_kind(path)
    if kind in _REMOTE or kind.startswith(b"fuse."):
        name = kind.decode("utf-8", "replace")
        return (
            f"{name}: what other machines change raises no events here, and is seen at the next "
            "sweep. Remedy: a folder on a disk of this machine"
        )
    return ""


def nearest_directory(path: bytes) -> bytes:
    """`path`, or of what it is in the nearest that is there."""
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    return path


def filesystem_kind(path: bytes) -> bytes:
    """As /proc/self/mountinfo names it (proc(5)); empty where there is none."""
    wanted = os.stat(nearest_directory(path)).st_dev
    device = b"%d:%d" % (os.major(wanted), os.minor(wanted))
    try:
        with open("/proc/self/mountinfo", "rb") as file:  # bytes, as paths are
            lines = file.read().splitlines()
    except OSError:
        return b""
    for line in reversed(lines):
        before, _, after = line.partition(b" - ")
        if before.split()[2] == device:
            return after.split()[0]
    return b""
