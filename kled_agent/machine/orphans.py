"""Reaps the programs that the agent starts, and those that outlive their sessions.

The agent is the reaper of its descendants, as it would be as process 1 of a VM: a daemon that a
session leaves behind becomes its child. Ended ones are waited for, so no zombie stays.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

import trio

from kled_agent.machine.descendants import reap, zombies

GRACE_S: Final = 2.0


class Children:
    """The programs that this process started itself, and waits for itself."""

    def __init__(self, *, grace_s: float = GRACE_S) -> None:
        # How long one has to end by itself when the agent ends.
        self.grace_s = grace_s
        self._pids: set[int] = set()
        self._starting = 0
        self._settled = trio.Event()

    @contextmanager
    def starting(self) -> Iterator[None]:
        """Around a start and `started`: the program may end before its number is known here."""
        self._starting += 1
        try:
            yield
        finally:
            self._starting -= 1
            if not self._starting:
                self._settled.set()
                self._settled = trio.Event()

    async def wait_settled(self) -> None:
        """Wait until no start is under way."""
        while self._starting:
            await self._settled.wait()

    def started(self, pid: int) -> None:
        """`pid` is ours."""
        self._pids.add(pid)

    def waited(self, pid: int) -> None:
        """`pid` has been waited for; the number may come back as somebody else's."""
        self._pids.discard(pid)

    def __contains__(self, pid: int) -> bool:
        """Whether `pid` is ours and not yet waited for."""
        return pid in self._pids


async def wait_child(
    process: trio.Process, children: Children, *, ask_to_end: Callable[[], None]
) -> None:
    """Wait for a program that leads a session of its own (setsid(2)).

    When the wait is cancelled the agent ends: the program is asked to, and after
    `children.grace_s` it is killed, its group with it.
    """
    try:
        await process.wait()
    finally:
        if process.returncode is None:
            ask_to_end()
            with trio.move_on_after(children.grace_s, shield=True):
                await process.wait()
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            with trio.CancelScope(shield=True):  # SIGKILL cannot be refused
                await process.wait()
        children.waited(process.pid)


async def reap_orphans(
    ours: Children, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Wait for adopted children that have ended, whenever a child ends, until cancelled."""
    with trio.open_signal_receiver(signal.SIGCHLD) as signals:
        task_status.started()
        async for _ in signals:
            await ours.wait_settled()
            for pid in zombies():
                if pid not in ours:
                    reap(pid)
