"""Runs a job until it is over: waits for signals, reaps who has ended, starts the agent again."""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress
from typing import Final

from kled_agent.machine.descendants import become_reaper, kill_descendants
from kled_agent.supervisor import programs
from kled_agent.supervisor.decisions import (
    AGENT_S,
    ContainerState,
    EndContainer,
    ProgramRole,
    Restart,
    forwarded,
)
from kled_agent.supervisor.job import SupervisorJob
from kled_agent.supervisor.programs import NotStartedError

_FOREVER: Final = 3600.0  # sigtimedwait(2) takes no infinity


class ContainerSupervisor:
    """The programs of one container."""

    def __init__(self, job: SupervisorJob) -> None:
        self._job = job
        self._state = ContainerState(has_command=job.command is not None)
        self._pids: dict[int, ProgramRole] = {}
        self._agent_at: float | None = None
        self._end: EndContainer | None = None

    def run(self) -> int:
        """Run the job; returns the exit code. Every program below has ended by then."""
        passed_on = forwarded()
        wanted = passed_on | {signal.SIGCHLD}
        # Blocked, they wait for sigtimedwait; process 1 would not get what it does not handle.
        signal.pthread_sigmask(signal.SIG_BLOCK, wanted)
        become_reaper()  # where this is not process 1
        for role in ProgramRole:
            self._start(role)
        while self._end is None:
            got = signal.sigtimedwait(wanted, self._wait_s())
            if got is not None and got.si_signo in passed_on:
                self._pass_on(got.si_signo)
            self._reap()
            if self._agent_at is not None and time.monotonic() >= self._agent_at:
                self._start(ProgramRole.AGENT)
        self._end_agent()
        kill_descendants()
        return self._end.code

    def _wait_s(self) -> float:
        if self._agent_at is None:
            return _FOREVER
        return max(0.0, self._agent_at - time.monotonic())

    def _start(self, role: ProgramRole) -> None:
        program = self._job.command if role is ProgramRole.COMMAND else self._job.agent
        if program is None or self._end is not None:
            return
        now = time.monotonic()
        if role is ProgramRole.AGENT:
            self._agent_at = None
            self._state.agent_started(now)
        try:
            self._pids[programs.start(program)] = role
        except NotStartedError as error:
            _say(f"{role.value}: {error}")
            self._follow(self._state.not_started(role, error.code, now))

    def _pass_on(self, number: int) -> None:
        for pid, role in self._pids.items():
            if role is self._state.lead:
                with suppress(ProcessLookupError):
                    os.kill(pid, number)

    def _reap(self) -> None:
        """Wait for all that have ended, ours and orphans."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            role = self._pids.pop(pid, None)
            if role is not None and self._end is None:
                self._follow(self._state.ended(role, status, time.monotonic()))

    def _follow(self, decision: Restart | EndContainer) -> None:
        if isinstance(decision, EndContainer):
            self._end = decision
        else:
            self._agent_at = time.monotonic() + decision.wait_s
            # Whoever waits for the agent reads this in the log (docs/bundle.md).
            _say(
                f"agent: exit code {decision.code}, end {decision.ends} in a row; it is started "
                f"again in {decision.wait_s:.0f} s"
            )

    def _end_agent(self) -> None:
        """Let the agent take leave of its clients."""
        deadline = time.monotonic() + AGENT_S
        for pid in self._pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        while self._pids and (left := deadline - time.monotonic()) > 0:
            signal.sigtimedwait({signal.SIGCHLD}, left)
            self._reap()


def _say(what: str) -> None:
    sys.stderr.write(f"kled-init: {what}\n")
    sys.stderr.flush()
