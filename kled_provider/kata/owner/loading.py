"""Reads the owner's file from disk: only root may say what templates choose among."""

from __future__ import annotations

import functools
import os
import stat

from kled_provider.kata.owner.file import DEFAULT_PATH, OwnerFile, OwnerFileError
from kled_provider.kata.owner.parsing import FILE_BYTES, parse_owner_file

# Every operation reads the file anew, and a plan of fifty containers a hundred times: what has not
# changed is not parsed again.
_parse = functools.lru_cache(maxsize=1)(parse_owner_file)


def load_owner_file(path: str = "") -> OwnerFile:
    """Read and parse the file; without a path that of KLED_KATA_FILE, or the usual one.

    Raises OwnerFileError, whose message begins with the path.
    It has to be a regular file of root or of this process's user, which nobody else may write.
    """
    path = path or os.environ.get("KLED_KATA_FILE", DEFAULT_PATH)
    try:
        return _parse(_read(path))
    except OwnerFileError as error:
        raise OwnerFileError(error.code, f"{path}: {error.message}", hint=error.hint) from error


def _read(path: str) -> str:
    try:
        # Not blocking: a FIFO of that name is opened at once, and refused.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise OwnerFileError(
            "owner_file_missing",
            "there is no such file",
            hint="docs/kata.md has one to begin with.",
        ) from error
    except OSError as error:
        raise OwnerFileError("owner_file_unreadable", str(error.strerror)) from error
    try:
        found = os.fstat(descriptor)
        _refuse_others(found)
        # Reads no more than the file has: a buffer for the largest file would cost more than all
        # else here.
        data = os.read(descriptor, min(found.st_size, FILE_BYTES) + 1)
    finally:
        os.close(descriptor)
    if len(data) > FILE_BYTES:
        raise OwnerFileError("owner_file_malformed", f"it has more than {FILE_BYTES} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise OwnerFileError("owner_file_malformed", f"it is not UTF-8: {error}") from error


def _refuse_others(found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise OwnerFileError("owner_file_unreadable", "it is not a regular file")
    if found.st_uid not in (0, os.geteuid()) or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise OwnerFileError(
            "owner_file_not_private",
            "others than root may write it",
            hint="chown root: it, and chmod go-w.",
        )
