"""Decides what the supervisor does when a program ends or a signal comes. No I/O, no clock.

The container lives as long as the command, or, where there is none, as long as the agent. An agent
that dies beside a command is started again, after a second, then two, up to half a minute; one that
ran for a minute begins anew.
"""

from __future__ import annotations

import enum
import signal
from dataclasses import dataclass
from typing import Final

FIRST_WAIT_S: Final = 1.0
MOST_WAIT_S: Final = 30.0
_MOST_DOUBLINGS: Final = 5  # by then it is as long as it gets
LONG_RUN_S: Final = 60.0
# How long the agent has to end its sessions when the command has ended, and what is left then.
AGENT_S: Final = 5.0


class ProgramRole(enum.Enum):
    """The role of a program in a container: the image's command or the agent."""

    COMMAND = "command"
    AGENT = "agent"


@dataclass(frozen=True, slots=True)
class Restart:
    """Start the agent after `wait_s`. It has ended with `code`, which is its `ends`th end in a row.

    As with the time of the waits, one that ran for a minute begins anew.
    """

    wait_s: float
    code: int
    ends: int


@dataclass(frozen=True, slots=True)
class EndContainer:
    """End what is left of the container's programs, then exit with this code."""

    code: int


class ContainerState:
    """The state of one container's life."""

    def __init__(self, *, has_command: bool) -> None:
        self._lead = ProgramRole.COMMAND if has_command else ProgramRole.AGENT
        self._ends = 0
        self._started_at = 0.0

    @property
    def lead(self) -> ProgramRole:
        """The program that the container lives as long as; signals are passed on to it."""
        return self._lead

    def agent_started(self, now: float) -> None:
        """The agent runs since `now`."""
        self._started_at = now

    def ended(self, role: ProgramRole, status: int, now: float) -> Restart | EndContainer:
        """A program has ended; `status` as wait(2) gives it."""
        if role is self._lead:
            return EndContainer(exit_code(status))
        if now - self._started_at >= LONG_RUN_S:
            self._ends = 0
        wait_s = min(FIRST_WAIT_S * 2 ** min(self._ends, _MOST_DOUBLINGS), MOST_WAIT_S)
        self._ends += 1
        return Restart(wait_s, exit_code(status), self._ends)

    def not_started(self, role: ProgramRole, code: int, now: float) -> Restart | EndContainer:
        """A program could not be started, with the code that a shell would give (127, 126)."""
        return self.ended(role, code << 8, now)


def exit_code(status: int) -> int:
    """Return the exit code of a status of wait(2): 128 and more for a signal, as shells do."""
    killed_by = status & 0x7F
    return 128 + killed_by if killed_by else status >> 8 & 0xFF


# Passed on to the program that leads: every signal that can be and is not for this process.
_OWN: Final = {
    signal.SIGCHLD,
    signal.SIGKILL,
    signal.SIGSTOP,
    signal.SIGSEGV,
    signal.SIGBUS,
    signal.SIGFPE,
    signal.SIGILL,
    signal.SIGABRT,
    signal.SIGTRAP,
    signal.SIGSYS,
    # A terminal's stops: a container has no shell that would continue it.
    signal.SIGTTIN,
    signal.SIGTTOU,
}


def forwarded() -> frozenset[int]:
    """Return the signals that are passed on."""
    return frozenset(signal.valid_signals() - _OWN)
