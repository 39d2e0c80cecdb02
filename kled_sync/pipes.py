"""Pipes that take a whole block at once, so that neither end is woken for each small part of it."""

from __future__ import annotations

import fcntl
from contextlib import suppress
from typing import Final

# As much as Linux gives a user who has no privilege (pipe(7), pipe-max-size).
_PIPE_BYTES: Final = 1024 * 1024


def widen(descriptor: int) -> None:
    """What is no pipe, and on a system that cannot, stays as it is."""
    size = getattr(fcntl, "F_SETPIPE_SZ", None)
    if size is not None:
        with suppress(OSError):
            fcntl.fcntl(descriptor, size, _PIPE_BYTES)
