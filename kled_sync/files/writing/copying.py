"""Copies the contents of one file to another, in the cheapest way that the system has."""

from __future__ import annotations

import errno
import os


def copy_contents(source: int, target: int) -> None:
    """What is no hole: a clone where the filesystem can, else a copy in the kernel, or through us.

    lseek(2) says where the holes are; on a filesystem that does not know, all of it is data.
    """
    size, at = os.fstat(source).st_size, 0
    while at < size:
        try:
            at = os.lseek(source, at, os.SEEK_DATA)
        except OSError as exc:
            if exc.errno != errno.ENXIO:
                raise
            break  # a hole to the end
        end = os.lseek(source, at, os.SEEK_HOLE)
        while at < end and (done := _copy_part(source, target, at, end - at)):
            at += done
        if at < end:
            break  # it has become shorter
    os.ftruncate(target, size)


def _copy_part(source: int, target: int, at: int, count: int) -> int:
    try:
        return os.copy_file_range(source, target, count, at, at)
    except OSError as exc:
        if exc.errno not in {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}:
            raise
    return os.pwrite(target, os.pread(source, min(count, 1024 * 1024), at), at)
