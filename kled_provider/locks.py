"""Locks of files between processes (flock(2)), waited for without blocking the others."""

from __future__ import annotations

import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

_LOOK_AGAIN_S = 0.05  # of files nothing else tells, but blocking


@asynccontextmanager
async def hold_lock(path: Path, *, look_again_s: float = _LOOK_AGAIN_S) -> AsyncIterator[int]:
    """Hold the lock of a file, made with its directory (0700); gives its descriptor.

    Who waits looks again so often. Raises OSError.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        while not take_lock(lock):  # noqa: ASYNC110 - see _LOOK_AGAIN_S
            await trio.sleep(look_again_s)
        yield lock
    finally:
        os.close(lock)


def take_lock(lock: int) -> bool:
    """Take the lock of a descriptor, until its last copy is closed; False: another has it."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
