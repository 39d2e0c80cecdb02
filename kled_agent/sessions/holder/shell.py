"""The shell of a held session: started on a new terminal, resized, signalled, ended with all of its
programs. Standard library only, for the holder's process.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import signal
import struct
import sys
import termios
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from kled_agent.sessions.fresh import UMASK, lower_limits, restore_defaults
from kled_agent.sessions.modes import apply_modes

HANGUP_S: Final = 2.0
_PR_SET_CHILD_SUBREAPER: Final = 36  # linux/prctl.h


@dataclass(frozen=True, slots=True, kw_only=True)
class ShellJob:
    """What to start, and as whom; uid None means as the holder itself."""

    executable: str
    argv: Sequence[str]
    environment: Mapping[str, str]
    directory: str
    columns: int
    rows: int
    width: int = 0
    height: int = 0
    modes: Mapping[int, int] = field(default_factory=dict)
    uid: int | None = None
    gid: int | None = None
    groups: Sequence[int] = ()

    @classmethod
    def from_json(cls, table: Mapping[str, Any]) -> ShellJob:
        """Read what the agent wrote; JSON makes keys text."""
        return cls(**{**table, "modes": {int(k): v for k, v in table["modes"].items()}})


def start_shell(job: ShellJob) -> tuple[int, int]:
    """The shell's pid and our end of its terminal, not blocking. Raises OSError, also exec's."""
    ours, theirs = pty.openpty()
    told, tell = os.pipe()
    modes = apply_modes(termios.tcgetattr(theirs), job.modes)
    termios.tcsetattr(theirs, termios.TCSANOW, modes)  # type: ignore[arg-type]  # typeshed's list is narrower
    set_size(ours, job.columns, job.rows, job.width, job.height)
    if job.uid is not None:
        os.fchown(theirs, job.uid, -1)
    pid = os.fork()
    if pid == 0:
        _become_shell(job, theirs, tell)
    os.close(theirs)
    os.close(tell)
    with os.fdopen(told, "rb") as failed:
        number = failed.read()
    if number:
        os.close(ours)
        os.waitpid(pid, 0)
        raise OSError(int(number), os.strerror(int(number)), job.executable)
    os.set_blocking(ours, False)
    return pid, ours


def _become_shell(job: ShellJob, terminal: int, tell: int) -> None:
    """In the child: never returns."""
    try:
        os.setsid()
        fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
        name = os.ttyname(terminal)
        for number in (0, 1, 2):
            os.dup2(terminal, number)
        restore_defaults()
        lower_limits()
        if job.uid is not None and job.gid is not None:
            os.setgroups(list(job.groups))
            os.setgid(job.gid)
            os.setuid(job.uid)
        os.umask(UMASK)
        os.chdir(job.directory)
        os.execve(job.executable, list(job.argv), {**job.environment, "SSH_TTY": name})  # noqa: S606 - what the session is for
    except OSError as exc:
        os.write(tell, str(exc.errno).encode())
    finally:
        os._exit(127)


def set_size(terminal: int, columns: int, rows: int, width: int = 0, height: int = 0) -> None:
    """TIOCSWINSZ, tty_ioctl(4). Values past 16 bits are cut to what the kernel takes."""
    size = struct.pack("HHHH", *(max(0, min(n, 0xFFFF)) for n in (rows, columns, width, height)))
    with contextlib.suppress(OSError):
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, size)


def signal_foreground(terminal: int, shell: int, number: int) -> None:
    """Signal what is in the foreground of the terminal; the shell when that is not known."""
    try:
        group = os.tcgetpgrp(terminal) or shell
    except OSError:
        group = shell
    with contextlib.suppress(OSError):
        os.killpg(group, number)


def foreground_program(terminal: int, shell: int) -> str:
    """The name of what is in the foreground, where the system tells (Linux)."""
    try:
        group = os.tcgetpgrp(terminal) or shell
        return Path(f"/proc/{group}/comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def become_reaper() -> None:
    """Adopt what the shell leaves behind, so that the end of the session can end it (Linux)."""
    if sys.platform.startswith("linux"):
        import ctypes  # noqa: PLC0415 - not needed elsewhere

        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def start_mark(pid: int) -> str:
    """Tells this process from a later one of the same number: its start in ticks (proc(5)).

    Empty where there is no such process, or no /proc.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    state, *rest = text.rpartition(")")[2].split()
    return "" if state in "ZX" else rest[18]


def descendants(of: int) -> list[int]:
    """Every process below `of`, as /proc shows them now; ended ones are left out."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir() if sys.platform.startswith("linux") else []:
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                text = (entry / "stat").read_text(encoding="utf-8", errors="replace")
                state, parent = text.rpartition(")")[2].split()[:2]
                if state not in "ZX":
                    parents[int(entry.name)] = int(parent)
    found: list[int] = []
    below = {of}
    while below := {pid for pid, parent in parents.items() if parent in below}:
        found += below
    return found


def kill_descendants(of: int) -> None:
    """SIGKILL to all of them, until there are none."""
    for _ in range(100):
        below = descendants(of)
        if not below:
            return
        for pid in below:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        _reap()


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            continue
