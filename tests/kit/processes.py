"""What the processes of this machine are, from /proc.

The parent of a process goes on as soon as execve(2) has closed what it closes, which is before the
kernel has put the command line and the environment in place: for a moment both read as empty. So
whoever looks for a fresh process waits until it has them.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

import psutil

_STARTING_S = 5.0
# The address at which the environment ends, the last that execve(2) sets (proc_pid_stat(5)); field
# 51, counted from the third, which follows the name in brackets.
_ENV_END = 51 - 3


def is_alive(pid: int) -> bool:
    """Whether there is such a process, which is more than its zombie."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def has_ended(pid: int) -> bool:
    """The opposite, to be waited for."""
    return not is_alive(pid)


def command_line(process: psutil.Process) -> list[str]:
    """Its command line; empty when it has ended, is the kernel's, or is not ours to look at."""
    try:
        _wait_started(process.pid)
        return list(process.cmdline())
    except (OSError, psutil.Error):
        return []


def environment_of(process: psutil.Process) -> dict[str, str]:
    """Its environment; empty in the same cases."""
    try:
        _wait_started(process.pid)
        return dict(process.environ())
    except (OSError, psutil.Error):
        return {}


def running(word: str, among: Iterable[psutil.Process] | None = None) -> list[psutil.Process]:
    """The processes with `word` among their arguments, out of `among` or of all."""
    candidates = psutil.process_iter() if among is None else among
    return [process for process in candidates if word in command_line(process)]


def _wait_started(pid: int) -> None:
    """Until the process is beyond its execve(2). Raises OSError when it has no program.

    That is so of the kernel's processes and of zombies, and for us of those we may not look at.
    """
    directory = Path("/proc", str(pid))
    deadline = time.monotonic() + _STARTING_S
    while time.monotonic() < deadline:
        (directory / "exe").readlink()
        fields = (directory / "stat").read_text().rpartition(")")[2].split()
        if fields[_ENV_END] != "0":
            return
        time.sleep(0.001)
