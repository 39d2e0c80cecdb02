"""Programs that outlive the session which started them: adopted, buried, ended with the agent.

On Linux the agent is the reaper of its descendants (prctl(2), PR_SET_CHILD_SUBREAPER), as it would
be as process 1 of a VM: a daemon that a session leaves behind becomes its child. Ended ones are
waited for, so no zombie stays; at the end of the agent all of them are ended too.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Container, Iterator
from contextlib import contextmanager, suppress
from typing import Final

import psutil
import trio

_PR_SET_CHILD_SUBREAPER: Final = 36  # linux/prctl.h
_GRACE_S: Final = 2.0


def become_reaper() -> bool:
    """Adopt orphaned descendants from now on. False where the system has no such thing."""
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    return bool(libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)


class Children:
    """The programs that this process started itself, and waits for itself."""

    def __init__(self) -> None:
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


async def bury_orphans(
    ours: Children, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Wait for adopted children that have ended, whenever a child ends, until cancelled."""
    with trio.open_signal_receiver(signal.SIGCHLD) as signals:
        task_status.started()
        async for _ in signals:
            await ours.wait_settled()
            for child in _zombies():
                if child.pid not in ours:
                    _bury(child.pid)


def end_descendants(spared: Container[int] = ()) -> None:
    """SIGKILL everything that descends from us, until nothing does. At the very end only.

    Not the `spared` and what descends from them: they outlive us.
    """
    while children := [c for c in _below(psutil.Process(), spared) if _alive(c)]:
        for child in children:
            try:
                child.kill()
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(children, timeout=_GRACE_S)
    for child in _zombies():
        _bury(child.pid)


def end_tree(pid: int) -> None:
    """SIGKILL `pid` and everything that descends from it, which need not be below us."""
    try:
        process = psutil.Process(pid)
        tree = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for one in tree:
        with suppress(psutil.NoSuchProcess):
            one.kill()


def _below(process: psutil.Process, spared: Container[int]) -> list[psutil.Process]:
    found: list[psutil.Process] = []
    try:
        for child in process.children():
            if child.pid not in spared:
                found += [child, *_below(child, spared)]
    except psutil.NoSuchProcess:
        return found
    return found


def _alive(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _zombies() -> Iterator[psutil.Process]:
    for child in psutil.Process().children():
        try:
            if child.status() == psutil.STATUS_ZOMBIE:
                yield child
        except psutil.NoSuchProcess:
            continue


def _bury(pid: int) -> None:
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return  # somebody else has
