"""Who is creating something: what a live process has begun is no leftover of a dead one."""

from __future__ import annotations

import os

from kled_provider.kled.processes.launcher import start_mark


def this_process() -> str:
    """Return what this process is known by, on this machine and until it ends."""
    return f"{os.getpid()} {start_mark(os.getpid())}"


def is_alive(creator: str) -> bool:
    """Whether the process that `this_process` has named so lives."""
    pid, _, mark = creator.partition(" ")
    return pid.isdecimal() and start_mark(int(pid)) == mark
