"""Runs one script to its end as the sessions' user, and passes on its output."""

from __future__ import annotations

import math
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import trio

from kled_agent.machine.orphans import Children
from kled_agent.machine.users import LocalUser
from kled_agent.scripts.logfile import LogFile, log_command
from kled_agent.scripts.login import (
    ScriptDirectory,
    install_command,
    interpreter,
    log_file,
    script_command,
    script_input,
)
from kled_agent.sessions.descriptors import Descriptor, InputQueue, read_all
from kled_agent.sessions.program import Command, Program, start_on_pipes, wait_ended
from kled_wire.scheduling import TypingPriority

# How long the output of a script that has ended may still come before it counts as somebody
# else's, whom the script has left in the background.
_REST_S: Final = 0.2
_INSTALL_S: Final = 10.0
_NOT_RUN: Final = 126  # as shells say "found but cannot be run"
_NOT_FOUND: Final = 127

Deliver = Callable[[bytes], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a script ended: succeeded, failed or timed_out; `exit_code` is 128 + n for a signal."""

    state: str
    exit_code: int
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Runner:
    """Runs scripts with the agent's environment; `user` gives the user for each run."""

    user: Callable[[], LocalUser]
    environment: Mapping[str, str]
    children: Children
    place: ScriptDirectory

    async def run(
        self,
        script_id: str,
        script: str,
        deliver: Deliver,
        *,
        timeout_s: float,
        background: trio.Nursery | None = None,
        log_path: str = "",
    ) -> Ending:
        """Run a script; `timeout_s` 0 is no limit. Cancelled, it ends the script.

        What it prints goes to `deliver`, and to the file that `log_path` ("": none) names.

        What a program prints that the script leaves behind goes on to `deliver` in `background`;
        without one that program's output is closed.
        """
        if absent := _absent_interpreter(script):
            note = f"its interpreter {absent!r} is not there"
            deliver(f"kled-agent: {note}\n".encode())
            return Ending(state="failed", exit_code=_NOT_FOUND, note=note)
        log = LogFile()
        async with trio.open_nursery() as nursery:
            if log_path:
                keep = partial(log.keep, self._log_command(log_path), deliver, self.children)
                await (background or nursery).start(keep)
            # Then the script: nothing may be waited for between its start and `_attend`.
            try:
                program = await start_on_pipes(self._command(script_id, script), merged=True)
            except (OSError, ValueError) as exc:  # the latter for a NUL byte
                log.end()
                note = f"it could not be started: {exc}"
                deliver(f"kled-agent: {note}\n".encode())
                return Ending(state="failed", exit_code=_NOT_RUN, note=note)
            except BaseException:
                log.end()
                raise

            def print_to_both(data: bytes) -> None:
                log.write(data)
                deliver(data)

            return await self._attend(
                program, script, print_to_both, timeout_s, background, ended=log.end
            )

    def _log_command(self, log_path: str) -> Command:
        user = self.user()
        file = log_file(log_path, user.environment(), tempfile.gettempdir())
        argv = log_command(file)
        return Command(user=user, environment=self.environment, children=self.children, argv=argv)

    async def install(self) -> str:
        """Make the directory and the programs in it; returns why not, or nothing."""
        argv = install_command(self.place, python=sys.executable, shell=self.user().shell)
        printed = bytearray()
        command = Command(
            user=self.user(), environment=self.environment, children=self.children, argv=argv
        )
        try:
            program = await start_on_pipes(command, merged=True)
        except OSError as exc:
            return str(exc)
        ending = await self._attend(program, "", printed.extend, _INSTALL_S, None)
        return "" if ending.state == "succeeded" else printed.decode("utf-8", "replace")[:200]

    def _command(self, script_id: str, script: str) -> Command:
        user = self.user()
        argv = script_command(self.place, script_id=script_id, script=script, shell=user.shell)
        more = {
            "CODER_SCRIPT_BIN_DIR": self.place.bin,
            "CODER_SCRIPT_DATA_DIR": self.place.data(script_id),
            "KLED_PATH": user.environment()["PATH"],
        }
        return Command(
            user=user,
            environment={**self.environment, **more},
            children=self.children,
            argv=argv,
        )

    async def _attend(
        self,
        program: Program,
        script: str,
        deliver: Deliver,
        timeout_s: float,
        background: trio.Nursery | None,
        ended: Callable[[], None] = lambda: None,
    ) -> Ending:
        over = trio.Event()
        async with trio.open_nursery() as nursery:
            (background or nursery).start_soon(_read, program.stdout, deliver, over, ended)
            nursery.start_soon(_feed, program.stdin, script_input(script))
            with trio.move_on_after(timeout_s or math.inf) as limit:
                await wait_ended(program, self.children)
            with trio.move_on_after(_REST_S):
                await over.wait()
            left_behind = not over.is_set()
            program.stdin.close()
            if background is None:
                program.close()
        return _ending(program, timeout_s if limit.cancelled_caught else None, left_behind)


def _absent_interpreter(script: str) -> str:
    """The program that the script's first line names, where it is not there; else nothing."""
    by = interpreter(script)
    return by[0] if by and by[0].startswith("/") and not Path(by[0]).exists() else ""


async def _read(
    source: Descriptor, deliver: Deliver, over: trio.Event, ended: Callable[[], None]
) -> None:
    """Read what a script prints to the end of it, which may be long after the script's own."""
    try:
        await read_all(source, deliver, TypingPriority())
    finally:
        over.set()
        ended()
        source.close()


async def _feed(descriptor: Descriptor, data: bytes) -> None:
    queue = InputQueue(descriptor, on_full=_nothing, on_room=_nothing)
    queue.write_nowait(data)
    queue.end_nowait()
    await queue.run()
    descriptor.close()


def _nothing() -> None:
    """The whole input is queued at once."""


def _ending(program: Program, timeout_s: float | None, left_behind: bool) -> Ending:
    code = program.process.returncode
    assert code is not None
    exit_code = code if code >= 0 else 128 - code
    if timeout_s is not None:
        note = f"it took longer than {timeout_s:g} s and was ended"
        return Ending(state="timed_out", exit_code=exit_code, note=note)
    if code < 0:
        note = f"it was ended by {_signal_name(-code)}"
        return Ending(state="failed", exit_code=exit_code, note=note)
    note = "a program that it started goes on, and prints here" if left_behind else ""
    return Ending(state="failed" if code else "succeeded", exit_code=exit_code, note=note)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
