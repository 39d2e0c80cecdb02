"""How the filesystem of a root treats names, found by making one and looking for it."""

from __future__ import annotations

import os
import unicodedata
from contextlib import suppress
from typing import NamedTuple


class NameRules(NamedTuple):
    """`folds_case`: `A` and `a` are one file. `decomposes`: names come back in Unicode's form D."""

    folds_case: bool
    decomposes: bool


def probe_names(directory: int) -> NameRules:
    """Of the filesystem of a directory of ours. Raises OSError."""
    name = f"Probe-\u00e9-{os.getpid()}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    os.close(os.open(name, flags, 0o600, dir_fd=directory))
    try:
        folds = False
        with suppress(FileNotFoundError):
            os.stat(name.swapcase(), dir_fd=directory, follow_symlinks=False)
            folds = True
        listed = os.listdir(directory)  # a descriptor
        return NameRules(folds, unicodedata.normalize("NFD", name) in listed)
    finally:
        os.unlink(name, dir_fd=directory)
