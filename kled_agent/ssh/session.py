"""One SSH session channel (RFC 4254, section 6): shell, command or subsystem.

The channel's callbacks only record what the client asks for; `_run` starts the program and moves
its bytes. Blocks are large and go one way only when the other side has room.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Final

import asyncssh
import trio

from kled_agent.sessions.descriptors import InputQueue, read_all, read_rest
from kled_agent.sessions.ending import signal_named
from kled_agent.sessions.program import (
    Command,
    Program,
    exit_status,
    start_on_pipes,
    start_on_terminal,
    wait_ended,
)
from kled_agent.sessions.sftp_pace import SftpPace
from kled_agent.sessions.terminal import TerminalRequest
from kled_agent.ssh.environment import session_environment
from kled_agent.ssh.identity import SessionDefaults
from kled_agent.ssh.login_wait import GAVE_UP, LoginWait, asks_to_wait
from kled_agent.ssh.motd import show_motd
from kled_agent.ssh.named import HeldTerminal, SessionRequest, asked_session, open_held
from kled_agent.ssh.subsystems.choice import SubsystemProgram, subsystem_program
from kled_agent.ssh.subsystems.ports import PortsSession
from kled_agent.ssh.subsystems.session_control import SessionControl
from kled_agent.ssh.subsystems.udp import UdpSession
from kled_wire.errors import KledError
from kled_wire.eventlog import EventLog
from kled_wire.scheduling import TypingPriority
from kled_wire.ssh import subsystems

# The block that OpenSSH takes in one packet (channels.h, CHAN_SES_PACKET_DEFAULT). asyncssh cuts
# larger blocks itself, and moves the rest of the block each time.
BLOCK_BYTES: Final = 32 * 1024
# Output that waits for room in a terminal's window is sent before the answer to a key.
TERMINAL_WAITING_BYTES: Final = 4 * 1024
_HOLDER_GONE: Final = 1
_START_FAILED: Final = 126  # as shells say "found but cannot be run"


class SshSession(asyncssh.SSHServerSession[bytes]):
    """Callbacks of one channel. `nursery` outlives the connection: programs may too."""

    def __init__(
        self,
        nursery: trio.Nursery,
        defaults: SessionDefaults,
        corked: Callable[[], AbstractContextManager[None]],
        priority: TypingPriority,
        log: EventLog,
    ) -> None:
        self._nursery = nursery
        self._corked = corked
        self._priority = priority
        self._defaults = defaults
        self._log = log
        self._terminal: TerminalRequest | None = None
        self._command: Command | None = None
        self._channel: asyncssh.SSHServerChannel[bytes] | None = None
        self._program: Program | HeldTerminal | None = None
        self._input: InputQueue | HeldTerminal | None = None
        self._early: list[bytes] = []
        self._ended = False
        self._gone = False
        self._room: trio.Event | None = None
        self._pace: SftpPace | None = None
        self._embedded: asyncssh.SSHServerSession[bytes] | None = None
        self._wait: LoginWait | None = None

    def connection_made(self, chan: asyncssh.SSHServerChannel[bytes]) -> None:
        self._channel = chan

    def pty_requested(
        self,
        term_type: str,
        term_size: tuple[int, int, int, int],
        term_modes: Mapping[int, int],
    ) -> bool:
        columns, rows, width, height = term_size
        self._terminal = TerminalRequest(
            term=term_type,
            columns=columns,
            rows=rows,
            width=width,
            height=height,
            modes=dict(term_modes),
        )
        return True

    def shell_requested(self) -> bool:
        self._command = self._make_command()
        return True

    def exec_requested(self, command: str) -> bool:
        self._command = self._make_command(line=command)
        return True

    def subsystem_requested(self, subsystem: str) -> bool:
        if program := subsystem_program(subsystem, self._defaults.user):
            self._command = self._make_command(program=program)
            self._pace = SftpPace() if program.paced else None
            return True
        if subsystem == subsystems.SESSION:
            self._embedded = SessionControl(self._nursery, self._defaults.named, self._log)
        elif subsystem == subsystems.PORTS:
            self._embedded = PortsSession(self._nursery, self._defaults.user, self._log)
        elif subsystem == subsystems.UDP:
            self._embedded = UdpSession(self._nursery, self._log)
        else:
            self._log.info("subsystem_refused", subsystem=subsystem)
            return False
        assert self._channel is not None
        self._embedded.connection_made(self._channel)
        return True

    def session_started(self) -> None:
        if self._embedded is not None:
            self._embedded.session_started()
        else:
            self._nursery.start_soon(self._run)

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        if self._embedded is not None:
            self._embedded.data_received(data, datatype)
        elif self._input is None:
            if self._wait is not None and self._terminal is not None:
                self._wait.typed(data)
            self._early.append(data)  # bounded by the channel's window
        else:
            self._input.write_nowait(data)

    def eof_received(self) -> bool:
        if self._embedded is not None:
            return bool(self._embedded.eof_received())
        self._ended = True
        if self._input is not None:
            self._input.end_nowait()
        return True  # output goes on

    def terminal_size_changed(self, width: int, height: int, pixwidth: int, pixheight: int) -> None:
        if self._program is not None and self._terminal is not None:
            self._program.resize(
                TerminalRequest(
                    term=self._terminal.term,
                    columns=width,
                    rows=height,
                    width=pixwidth,
                    height=pixheight,
                )
            )

    def signal_received(self, signal: str) -> None:
        self._send_signal(signal)

    def break_received(self, msec: int) -> bool:
        self._send_signal("INT")
        return True

    def output_refused(self) -> None:
        """The client takes no more output: as when who reads a pipe has closed it."""
        if not isinstance(self._program, Program):
            self._hang_up()
            if self._channel is not None:
                self._channel.close()
        elif self._program.on_terminal:
            self._program.hang_up()
        else:
            self._program.stdout.close()

    def pause_writing(self) -> None:
        if self._embedded is not None:
            self._embedded.pause_writing()
        self._room = trio.Event()

    def resume_writing(self) -> None:
        if self._embedded is not None:
            self._embedded.resume_writing()
        if self._room is not None:
            self._room.set()
            self._room = None

    def connection_lost(self, exc: Exception | None) -> None:
        self._gone = True
        if self._embedded is not None:
            self._embedded.connection_lost(exc)
            return
        self._hang_up()

    def _hang_up(self) -> None:
        self._gone = True
        if self._wait is not None:
            self._wait.give_up()
        self.resume_writing()
        if self._program is not None:
            self._program.hang_up()

    def _make_command(
        self, *, line: str | None = None, program: SubsystemProgram | None = None
    ) -> Command:
        assert self._channel is not None
        return Command(
            user=self._defaults.user,
            environment=session_environment(self._channel, self._defaults.environment),
            children=self._defaults.children,
            line=line,
            argv=program.argv if program else None,
            becomes_user=bool(program and program.becomes_user),
        )

    async def _run(self) -> None:
        """The session to its end; what nobody expected ends only this one."""
        assert self._channel is not None
        try:
            if await self._let_in(self._channel):
                await self._start_and_serve(self._channel)
        except* Exception as group:  # noqa: BLE001 - the supervisor of one session
            self._log.crash("session_failed", group)
            self._channel.abort()

    async def _let_in(self, channel: asyncssh.SSHServerChannel[bytes]) -> bool:
        """Wait for scripts where the client asks to; False where it does not come in then."""
        assert self._command is not None
        if not asks_to_wait(channel.get_environment()):
            return True
        self._wait = LoginWait(self._defaults.logins, channel.write_stderr)
        if not await self._wait.run() and not self._gone:
            channel.exit(GAVE_UP)
        # The template may have changed it meanwhile.
        self._command = replace(self._command, user=self._defaults.user)
        return not self._wait.gave_up

    async def _start_and_serve(self, channel: asyncssh.SSHServerChannel[bytes]) -> None:
        assert self._command is not None
        if self._terminal is not None and self._command.line is None and not self._command.argv:
            try:
                if asked := asked_session(channel.get_environment()):
                    await self._serve_named(asked, self._command, self._terminal, channel)
                    return
            except KledError as exc:
                self._refuse(exc, channel)
                return
        try:
            if self._terminal is not None:
                channel.set_write_buffer_limits(high=TERMINAL_WAITING_BYTES)
                path = self._defaults.logins.motd_file()
                await show_motd(path, self._command, self._writer(channel, None))
                program = await start_on_terminal(self._command, self._terminal)
            else:
                program = await start_on_pipes(self._command)
        except OSError as exc:
            self._log.warning("program_not_started", reason=exc.strerror)
            what = exc.filename or self._command.vector()[0]
            text = f"kled-agent: {what}: {exc.strerror}\r\n"
            if not self._gone:
                channel.write_stderr(text.encode())
                channel.exit(_START_FAILED)
            return
        self._program = program
        if self._gone:
            program.hang_up()
        await self._serve(program, channel)

    def _refuse(self, error: KledError, channel: asyncssh.SSHServerChannel[bytes]) -> None:
        self._log.info("session_refused", code=error.code, reason=error.message)
        if not self._gone:
            channel.write_stderr(f"error: {error.line()}\r\n".encode())
            channel.exit(error.exit_code)

    async def _serve_named(
        self,
        asked: SessionRequest,
        command: Command,
        request: TerminalRequest,
        channel: asyncssh.SSHServerChannel[bytes],
    ) -> None:
        """Serve a named session until it ends or the client leaves.

        Raises KledError when it cannot begin.
        """
        channel.set_write_buffer_limits(high=TERMINAL_WAITING_BYTES)
        throttle = channel.pause_reading, channel.resume_reading
        terminal = await open_held(self._defaults.named, asked, command, request, throttle)
        self._program = self._input = terminal
        for data in self._early:
            terminal.write_nowait(data)
        self._early.clear()
        if self._gone:
            terminal.hang_up()
        await terminal.run(self._writer(channel, None), self._priority)
        if self._gone:
            return
        channel.resume_reading()
        ended = terminal.ended
        if ended is None:
            channel.write_stderr(f"\r\nsession {terminal.name}: its holder is gone\r\n".encode())
            channel.exit(_HOLDER_GONE)
            return
        if ended.reason:
            text = f"\r\nsession {terminal.name} has ended: {ended.reason}\r\n"
            channel.write_stderr(text.encode())
        _report_exit(channel, ended.code, ended.signal)

    async def _serve(self, program: Program, channel: asyncssh.SSHServerChannel[bytes]) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._feed_input, program, channel)
            nursery.start_soon(self._wait_and_report, program, channel, nursery.cancel_scope)

    async def _feed_input(
        self, program: Program, channel: asyncssh.SSHServerChannel[bytes]
    ) -> None:
        queue = InputQueue(
            program.stdin,
            on_full=channel.pause_reading,
            on_room=channel.resume_reading,
            pace=self._pace,
        )
        for data in self._early:
            queue.write_nowait(data)
        self._early.clear()
        self._input = queue
        if self._ended:
            queue.end_nowait()
        await queue.run()
        # The end of input closes a pipe; a terminal stays open for its output.
        if not program.on_terminal:
            program.stdin.close()

    async def _wait_and_report(
        self,
        program: Program,
        channel: asyncssh.SSHServerChannel[bytes],
        scope: trio.CancelScope,
    ) -> None:
        async with trio.open_nursery() as nursery:
            out = self._writer(channel, None)
            nursery.start_soon(read_all, program.stdout, out, self._priority)
            if program.stderr is not None:
                errors = self._writer(channel, asyncssh.EXTENDED_DATA_STDERR)
                nursery.start_soon(read_all, program.stderr, errors, self._priority)
            await wait_ended(program, self._defaults.children)
            if program.on_terminal:
                nursery.cancel_scope.cancel()
        if program.on_terminal:
            await read_rest(program.stdout, self._writer(channel, None))
        if not self._gone:
            _report_exit(channel, *exit_status(program.process))
        program.close()
        # Input that nobody will read must not hold the channel open.
        channel.resume_reading()
        scope.cancel()

    def _writer(
        self, channel: asyncssh.SSHServerChannel[bytes], datatype: asyncssh.DataType
    ) -> Callable[[bytes], trio.Event | None]:
        def deliver(data: bytes) -> trio.Event | None:
            if self._pace is not None and datatype is None:
                self._pace.answered(data)
            if self._terminal is not None:
                self._priority.terminal_wrote(len(data))
            if not self._gone:
                view = memoryview(data)
                try:
                    with self._corked():
                        for start in range(0, len(view), BLOCK_BYTES):
                            channel.write(bytes(view[start : start + BLOCK_BYTES]), datatype)
                except BrokenPipeError:
                    # The client has closed the channel, and asyncssh says so only after it has
                    # delivered the input that waits for a slow program.
                    self._hang_up()
            return self._room

        return deliver

    def _send_signal(self, name: str) -> None:
        number = signal_named(name)
        if self._program is not None and number is not None:
            self._program.send_signal(number)


def _report_exit(
    channel: asyncssh.SSHServerChannel[bytes], code: int | None, signal: str | None
) -> None:
    if signal is not None:
        channel.exit_with_signal(signal)
    else:
        channel.exit(code or 0)
