"""Pipes that take a large block at once, so that neither end is woken for each small part of it."""

from __future__ import annotations

import fcntl
from contextlib import suppress
from typing import Final

# As much as Linux gives a user who has no privilege (pipe(7), pipe-max-size).
PIPE_BYTES: Final = 1024 * 1024


def widen_pipe(descriptor: int) -> None:
    """Ask for a larger pipe (fcntl(2), F_SETPIPE_SZ).

    What is no pipe stays as it is, and so do all where the system has no larger ones, or where the
    user's pipes have all the memory that they may.
    """
    request = getattr(fcntl, "F_SETPIPE_SZ", None)
    if request is not None:
        with suppress(OSError):
            fcntl.fcntl(descriptor, request, PIPE_BYTES)
