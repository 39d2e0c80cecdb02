"""Starts a held session's shell on a new terminal, resizes, signals and ends it with its programs.

Standard library only, for the holder's process.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from kled_agent.sessions.fresh import UMASK, lower_limits, restore_defaults
from kled_agent.sessions.terminal import TerminalRequest, foreground, open_terminal, take_terminal

HANGUP_S: Final = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ShellJob:
    """What to start, and as whom; uid None means as the holder itself."""

    executable: str
    argv: Sequence[str]
    environment: Mapping[str, str]
    directory: str
    terminal: TerminalRequest
    uid: int | None = None
    gid: int | None = None
    groups: Sequence[int] = ()

    @classmethod
    def from_json(cls, table: Mapping[str, Any]) -> ShellJob:
        """Read what the agent wrote; JSON makes keys text."""
        asked = table["terminal"]
        modes = {int(opcode): value for opcode, value in asked["modes"].items()}
        return cls(**{**table, "terminal": TerminalRequest(**{**asked, "modes": modes})})


def start_shell(job: ShellJob) -> tuple[int, int]:
    """The shell's pid and our end of its terminal, not blocking. Raises OSError, also exec's."""
    ours, theirs = open_terminal(job.terminal, job.uid)
    told, tell = os.pipe()
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
        take_terminal(terminal)
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


def foreground_program(terminal: int, shell: int) -> str:
    """The name of what is in the foreground, where the system tells (Linux)."""
    try:
        group = foreground(terminal, shell)
        return Path(f"/proc/{group}/comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
