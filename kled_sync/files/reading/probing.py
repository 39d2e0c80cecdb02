"""How the filesystem of a root treats names, found by making one and looking for it."""

from __future__ import annotations

import os
import unicodedata

from kled_sync.decide.folding import NameRules


def probe_names(directory: int) -> NameRules:
    """Find the rules for names of the file system of a directory of ours. Raises OSError."""
    name = f"Probe-\u00e9-{os.getpid()}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    os.close(os.open(name, flags, 0o600, dir_fd=directory))
    try:
        apart = unicodedata.normalize("NFD", name)
        return NameRules(
            folds_case=_is_there(name.swapcase(), directory),
            decomposes=apart in os.listdir(directory),  # a descriptor
            folds_forms=_is_there(apart, directory),
        )
    finally:
        os.unlink(name, dir_fd=directory)


def _is_there(name: str, directory: int) -> bool:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
