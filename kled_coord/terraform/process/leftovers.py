"""Finds left-over processes by a mark in their environment, and ends them.

Whoever starts a program for a run or a workspace puts a mark (`NAME=value`) into its environment.
The program's children inherit it, also those that leave its process group (setsid(2)) or outlive
it, so that they can be found when no state and no parent knows them. A child that was given
another environment is found as a descendant, while one of its ancestors lives.

Linux only: elsewhere nothing says what another process has in its environment, and nothing is
found. Source: proc(5), pidfd_open(2).
"""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

import trio

from kled_wire.errors import KledError

KILL_S: Final = 5.0  # how long the kernel may take to end what got SIGKILL
_PROC: Final = Path("/proc")
_NAMED: Final = 5  # how many processes an error names


class LeftoversError(KledError):
    """Processes that survive SIGKILL, as one does that waits for a broken disk or mount."""

    status: ClassVar[int] = 500

    def __init__(self, pids: Collection[int]) -> None:
        some = ", ".join(str(pid) for pid in sorted(pids)[:_NAMED])
        super().__init__(
            "processes_left",
            f"{len(pids)} processes do not end: {some}",
            hint="they wait for a disk or a mount, perhaps; mend it and try again",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessStat:
    """What is needed of one line of /proc/PID/stat.

    `start` is in clock ticks since the boot; `ignored` has bit N-1 set for each signal N that the
    process ignores.
    """

    pid: int
    parent: int
    group: int
    start: int
    ignored: int

    def ignores(self, number: signal.Signals) -> bool:
        """Whether sending it this signal is to no purpose."""
        return bool(self.ignored >> (number - 1) & 1)


# Says whether a process is one to end; it may read more of it in /proc.
Choice = Callable[[ProcessStat], bool]


def marked(mark: re.Pattern[bytes]) -> Choice:
    """Choose what has a variable in its environment that is wholly matched, as `NAME=value`."""
    return lambda status: any(mark.fullmatch(entry) for entry in _environment(status.pid))


def of_group(group: int) -> Choice:
    """Choose the members of a process group."""
    return lambda status: status.group == group


async def end_processes(
    choice: Choice,
    *,
    grace_s: float,
    first: signal.Signals = signal.SIGTERM,
    kill_s: float = KILL_S,
) -> int:
    """End what is chosen and all that descends from it; returns how many processes there were.

    They get the signal `first` and, where they do not ignore it, `grace_s` seconds; then SIGKILL,
    for `kill_s` seconds at most, until no more is found. Never this process and its ancestors, nor
    what it may not signal.
    Raises LeftoversError.
    """
    ended: set[tuple[int, int]] = set()
    number, wait_s = (first, grace_s) if grace_s > 0 else (signal.SIGKILL, kill_s)
    deadline = trio.current_time() + grace_s + kill_s
    while True:
        with ExitStack() as stack:
            found = await trio.to_thread.run_sync(_open_chosen, choice, stack)
            mine = {status: handle for status, handle in found.items() if _send(handle, number)}
            if not mine:
                return len(ended)
            if trio.current_time() > deadline:
                raise LeftoversError([status.pid for status in mine])
            ended |= {(status.pid, status.start) for status in mine}
            with trio.move_on_after(wait_s):
                for status, handle in mine.items():
                    if not status.ignores(number):
                        await trio.lowlevel.wait_readable(handle)
        number, wait_s = signal.SIGKILL, kill_s


def _open_chosen(choice: Choice, stack: ExitStack) -> Mapping[ProcessStat, int]:
    """The chosen processes by pidfd, which are closed with `stack`."""
    statuses = {status.pid: status for status in _processes()}
    chosen = {pid for pid, status in statuses.items() if choice(status)}
    chosen |= _descendants(chosen, statuses.values())
    found = {}
    for pid in chosen - _ancestry(statuses):
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        stack.callback(os.close, handle)
        # Looked at again: from here on the handle is that process and no later one.
        now = _status(pid)
        if now is not None and now.start == statuses[pid].start:
            found[now] = handle
    return found


def _descendants(pids: Collection[int], statuses: Iterable[ProcessStat]) -> set[int]:
    children: dict[int, list[int]] = {}
    for status in statuses:
        children.setdefault(status.parent, []).append(status.pid)
    found: set[int] = set()
    new = list(pids)
    while new:
        below = [child for pid in new for child in children.get(pid, []) if child not in found]
        found |= set(below)
        new = below
    return found


def _ancestry(statuses: Mapping[int, ProcessStat]) -> set[int]:
    """Our own process and those it descends from."""
    found, pid = {1}, os.getpid()
    while pid in statuses and pid not in found:
        found.add(pid)
        pid = statuses[pid].parent
    return found


def _processes() -> Iterator[ProcessStat]:
    if sys.platform != "linux":
        return
    for name in os.listdir(_PROC):  # noqa: PTH208 - names only: there may be thousands
        if name.isdecimal() and (status := _status(int(name))) is not None:
            yield status


def _status(pid: int) -> ProcessStat | None:
    """None where there is no such process, or only its zombie."""
    try:
        text = (_PROC / str(pid) / "stat").read_bytes()
    except OSError:
        return None
    # The command's name may hold spaces and brackets; the fields behind its last bracket do not.
    state, parent, group, *rest = text.rpartition(b")")[2].split()
    if state in b"ZXx":
        return None
    return ProcessStat(
        pid=pid, parent=int(parent), group=int(group), start=int(rest[16]), ignored=int(rest[27])
    )


def _environment(pid: int) -> list[bytes]:
    try:
        return (_PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return []  # it has ended, or is another user's


def _send(handle: int, number: signal.Signals) -> bool:
    """Whether the process was there and is ours to signal."""
    try:
        signal.pidfd_send_signal(handle, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True
