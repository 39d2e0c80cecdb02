"""Sends signals to the program inside a sandbox, whose parent is bwrap.

The program is the init of its process namespace (`--as-pid-1`): when it ends, the kernel ends all
that it left behind. An init gets no signal that it does not handle (pid_namespaces(7)).
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path


def interrupt_confined(bwrap_pid: int) -> None:
    """Send SIGINT to the program that this bwrap runs.

    It handles SIGINT from its first milliseconds on; before, it has begun nothing and is killed.
    """
    for pid in _children(bwrap_pid):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGINT if _handles_interrupt(pid) else signal.SIGKILL)


def _children(pid: int) -> list[int]:
    """The children of a process that has one thread (proc_pid_task(5)); none where it has ended."""
    try:
        listed = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [int(child) for child in listed.split()]


def _handles_interrupt(pid: int) -> bool:
    """Whether SIGINT is in the mask of caught signals (proc_pid_status(5))."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return False
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> (signal.SIGINT - 1) & 1)
