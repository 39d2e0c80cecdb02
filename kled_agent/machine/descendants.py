"""Finds the descendants of a process in /proc, distinguishes them, and ends them.

A process may be the reaper of its descendants (prctl(2), PR_SET_CHILD_SUBREAPER): a left-over
child of a program becomes its child, and is found here. Linux only: elsewhere nothing is found.
Standard library only, for the process that holds a named session.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Container, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

_PR_SET_CHILD_SUBREAPER: Final = 36  # linux/prctl.h
# How often it is looked whether what was killed is gone, and how long in all. A process that waits
# for a broken disk does not go.
_LOOK_S: Final = 0.01
_LOOKS: Final = 200


def become_reaper() -> bool:
    """Adopt orphaned descendants from now on. False where the system has no such thing."""
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    return bool(libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)


def start_mark(pid: int) -> str:
    """Tells this process from a later one of the same number: its start in ticks (proc(5)).

    Empty where there is no such process, or no /proc.
    """
    state, *rest = _fields(pid) or ["Z"]
    return "" if state in "ZX" else rest[18]


def descendants(of: int, spared: Container[int] = ()) -> list[int]:
    """Every living process below `of`, but for the `spared` and what is below them."""
    parents = {pid: parent for pid, state, parent in _processes() if state not in "ZX"}
    found: list[int] = []
    below = {of}
    while below := {
        pid for pid, parent in parents.items() if parent in below and pid not in spared
    }:
        found += below
    return found


def zombies() -> list[int]:
    """Our own children that have ended and were not waited for."""
    return [pid for pid, state, parent in _processes() if state == "Z" and parent == os.getpid()]


def kill_descendants(spared: Container[int] = ()) -> None:
    """SIGKILL to everything below us until nothing is, and reap it; blocks. At our end only."""
    for _ in range(_LOOKS):
        below = descendants(os.getpid(), spared)
        for pid in below:
            _kill(pid)
        for pid in zombies():
            reap(pid)
        if not below:
            return
        time.sleep(_LOOK_S)


def kill_tree(pid: int) -> None:
    """SIGKILL to `pid` and everything below it, which need not be below us."""
    for one in [pid, *descendants(pid)]:
        _kill(one)


def reap(pid: int) -> None:
    """Wait for a child that has ended; nothing happens where somebody else has."""
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)


def _processes() -> Iterator[tuple[int, str, int]]:
    """Number, state and parent of each process."""
    for entry in Path("/proc").iterdir() if sys.platform.startswith("linux") else []:
        if entry.name.isdigit() and (fields := _fields(int(entry.name))):
            yield int(entry.name), fields[0], int(fields[1])


def _fields(pid: int) -> list[str]:
    """Of /proc/PID/stat, from the state on; none where there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    # The command's name may hold spaces and brackets; the fields behind its last bracket do not.
    return text.rpartition(")")[2].split()
