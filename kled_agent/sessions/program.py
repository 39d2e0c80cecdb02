"""Starts a program as the session's user, on a terminal or on pipes, and waits for its end."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import trio

from kled_agent.machine.orphans import Children, wait_child
from kled_agent.machine.users import LocalUser
from kled_agent.sessions.descriptors import Descriptor
from kled_agent.sessions.ending import told_status
from kled_agent.sessions.fresh import UMASK, lower_limits
from kled_agent.sessions.terminal import (
    TerminalRequest,
    foreground,
    open_terminal,
    set_size,
    signal_group,
    take_terminal,
)
from kled_wire.pipes import widen_pipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What to run: `line` through the user's shell, or a login shell; `argv` instead of both.

    `becomes_user`: it is a module of ours that starts as this process's user, without the
    session's environment, which could change what is loaded, and becomes `user` by itself.
    """

    user: LocalUser
    environment: Mapping[str, str]
    children: Children
    line: str | None = None
    argv: tuple[str, ...] | None = None
    becomes_user: bool = False

    def beginning(self) -> dict[str, str]:
        """What the environment begins with."""
        is_login = self.line is None and not self.argv
        return self.user.login_environment() if is_login else self.user.environment()

    def vector(self) -> tuple[str, list[str]]:
        """The program file and its argument vector."""
        if self.argv:
            return self.argv[0], list(self.argv)
        shell = self.user.shell
        if self.line is not None:
            return shell, [Path(shell).name, "-c", self.line]
        return shell, self.user.login_shell()


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A started program and our ends of its streams; on a terminal `stdin` and `stdout` are it."""

    process: trio.Process
    stdin: Descriptor
    stdout: Descriptor
    stderr: Descriptor | None
    on_terminal: bool

    def resize(self, request: TerminalRequest) -> None:
        """Tell the terminal its new size; the foreground program gets SIGWINCH."""
        if self.on_terminal and self.stdin.number >= 0:
            size = (request.columns, request.rows, request.width, request.height)
            set_size(self.stdin.number, *size)

    def send_signal(self, number: int) -> None:
        """Signal what is in the foreground of the terminal, or the program's process group."""
        group = self.process.pid
        signal_group(foreground(self.stdin.number, group) if self.on_terminal else group, number)

    def hang_up(self) -> None:
        """The client is gone: close the terminal, which hangs up its session, or send SIGHUP.

        Programs that ignore it live on, as they would under a login on the console.
        """
        if not self.on_terminal:
            self.send_signal(signal.SIGHUP)
        self.close()

    def close(self) -> None:
        """Close our ends."""
        for end in (self.stdin, self.stdout, self.stderr):
            if end is not None:
                end.close()


async def start_on_terminal(command: Command, request: TerminalRequest) -> Program:
    """Start on a new terminal that becomes its controlling terminal. Raises OSError."""
    owner = None if command.user.owns_us() else command.user.uid
    ours, theirs = open_terminal(request, owner)
    try:
        process = await _start(
            command,
            {"TERM": request.term or "dumb", "SSH_TTY": os.ttyname(theirs)},
            streams=(theirs, theirs, theirs),
            terminal=True,
        )
    except BaseException:
        os.close(ours)
        raise
    finally:
        os.close(theirs)
    end = Descriptor(ours)
    return Program(process=process, stdin=end, stdout=end, stderr=None, on_terminal=True)


async def start_on_pipes(command: Command, *, merged: bool = False) -> Program:
    """Start with three pipes, or (`merged`) one for both outputs. Raises OSError."""
    pipes = [os.pipe() for _ in range(2 if merged else 3)]
    (stdin_read, stdin_write), (stdout_read, stdout_write), *rest = pipes
    theirs = [stdin_read, stdout_write, *(write for _, write in rest)]
    ours = [Descriptor(n) for n in (stdin_write, stdout_read, *(read for read, _ in rest))]
    try:
        widen_pipe(stdin_write)
        widen_pipe(stdout_read)
        streams = (stdin_read, stdout_write, theirs[-1])
        process = await _start(command, {}, streams=streams, terminal=False)
    except BaseException:
        for end in ours:
            end.close()
        raise
    finally:
        for number in theirs:
            os.close(number)
    stdin, stdout, *errors = ours
    return Program(
        process=process,
        stdin=stdin,
        stdout=stdout,
        stderr=errors[0] if errors else None,
        on_terminal=False,
    )


async def _start(
    command: Command,
    extra: Mapping[str, str],
    *,
    streams: tuple[int, int, int],
    terminal: bool,
) -> trio.Process:
    executable, argv = command.vector()
    if command.becomes_user:
        environment = {n: os.environ[n] for n in ("PYTHONPATH",) if n in os.environ}
    else:
        environment = {**command.beginning(), **command.environment, **extra}
    with command.children.starting():
        process = await trio.lowlevel.open_process(
            argv,
            executable=executable,
            stdin=streams[0],
            stdout=streams[1],
            stderr=streams[2],
            env=environment,
            cwd=command.user.directory(),
            start_new_session=True,
            umask=UMASK,
            preexec_fn=_take_terminal if terminal else lower_limits,
            **({} if command.becomes_user else command.user.popen_options()),
        )
        command.children.started(process.pid)
    return process


def _take_terminal() -> None:
    """In the child, after setsid."""
    lower_limits()
    take_terminal(0)


async def wait_ended(program: Program, children: Children) -> None:
    """Wait for the program; when that is cancelled, hang up and see it ended (`wait_child`)."""
    await wait_child(program.process, children, ask_to_end=program.hang_up)


def exit_status(process: trio.Process) -> tuple[int | None, str | None]:
    """(exit code, None), or (None, signal name without SIG) as RFC 4254, section 6.10, wants."""
    code = process.returncode
    return (None, None) if code is None else told_status(code)
