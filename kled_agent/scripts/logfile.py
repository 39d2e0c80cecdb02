"""Keeps what a script prints in a file of the workspace too (`log_path`).

A process of the user's writes it: the path is the template's, and who may write where is for the
system to say, not for an agent that may be root.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import trio

from kled_agent.machine.orphans import Children
from kled_agent.sessions.descriptors import InputQueue, read_all
from kled_agent.sessions.program import Command, Program, start_on_pipes, wait_ended
from kled_wire.scheduling import TypingPriority

LOG_MAX_BYTES: Final = 8 << 20
_CUT: Final = b"\nkled-agent: the rest of the output is not kept in this file\n"
_KEEP: Final = """\
case $1 in */*) mkdir -p "${1%/*}" || exit ;; esac
umask 077
exec cat >"$1"
"""


def log_command(path: str) -> tuple[str, ...]:
    """The argument vector that writes standard input to the file, in place of what was in it."""
    return ("/bin/sh", "-c", _KEEP, "kled-log", path)


class LogFile:
    """Takes output until `end`; what is over `max_bytes` is left out, and a line says so."""

    def __init__(self, *, max_bytes: int = LOG_MAX_BYTES) -> None:
        self._queue: InputQueue | None = None
        self._left = max_bytes

    def write(self, data: bytes) -> None:
        """Queue some output, without waiting."""
        if self._queue is None or self._left <= 0:
            return
        self._queue.write_nowait(data[: self._left])
        if len(data) > self._left:
            self._queue.write_nowait(_CUT)
        self._left -= len(data)

    def end(self) -> None:
        """Nothing more comes."""
        if self._queue is not None:
            self._queue.end_nowait()

    async def keep(
        self,
        command: Command,
        complain: Callable[[bytes], None],
        children: Children,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Write with `command` (`log_command`) from then on; what that says goes to `complain`."""
        try:
            program = await start_on_pipes(command, merged=True)
        except (OSError, ValueError) as exc:  # the latter for a NUL byte
            complain(f"kled-agent: log_path: {exc}\n".encode())
            task_status.started()
            return
        self._queue = InputQueue(program.stdin, on_full=_nothing, on_room=_nothing)
        task_status.started()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(read_all, program.stdout, complain, TypingPriority())
                nursery.start_soon(_feed, self._queue, program)
                # Waits from the beginning: when this is cancelled, at any moment, it ends the
                # program.
                await wait_ended(program, children)
        finally:
            program.close()


async def _feed(queue: InputQueue, program: Program) -> None:
    await queue.run()
    program.stdin.close()


def _nothing() -> None:
    """All that is queued is bounded by `max_bytes`."""
