"""Tells what is refused of a volume at the attribute that it is about."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from kled_provider.kata.paths.beneath import PathRefusedError
from kled_provider.kata.volume.stored import VolumeError
from kled_provider.kata.volume.tree import TreeError
from kled_provider.plugin.diagnostics import DiagnosticError, Path

# Errors of a write alone, never of a read.
_OF_WRITING: Final = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


@contextmanager
def told(summary: str, path: Path, hint: str = "") -> Iterator[None]:
    """Tell at `path` what is refused, or cannot be read. Raises DiagnosticError.

    `hint` is what to do where the error does not say. What a disk does not take is left to
    `told_of_disk`.
    """
    try:
        yield
    except (PathRefusedError, VolumeError, TreeError) as error:
        detail = f"{error.message}. {getattr(error, 'hint', '') or hint}".rstrip()
        raise DiagnosticError.of(summary, detail, path=path) from error
    except OSError as error:
        if error.errno in _OF_WRITING:
            raise
        raise DiagnosticError.of(summary, f"{_said(error)}. {hint}".rstrip(), path=path) from error


@contextmanager
def told_of_disk(name: str, where: str, path: Path) -> Iterator[None]:
    """Tell at `path` what the disk does not take of volume `name`. Raises DiagnosticError."""
    try:
        yield
    except OSError as error:
        hint = "Make room there" if error.errno in _OF_WRITING else "Let its owner see to that"
        raise DiagnosticError.of(
            "The volume cannot be written",
            f"Volume {name} lies below {where}: {_said(error)}. {hint}, or choose another place of "
            "this machine.",
            path=path,
        ) from error


def _said(error: OSError) -> str:
    """What the system says, with the file where it names one."""
    named = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
    return f"{named}{error.strerror}"
