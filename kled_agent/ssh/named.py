"""A named session on an SSH channel: connects the channel to a holder's socket.

A client asks by two variables on a channel with a terminal, which any ssh can send:
KLED_CLIENT_SESSION=NAME, and KLED_CLIENT_SESSION_MODE=ro to watch only, or join to start none.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

import trio

from kled_agent.sessions.descriptors import Descriptor, InputQueue, read_all
from kled_agent.sessions.directory import Held, SessionDirectory
from kled_agent.sessions.holder.frames import (
    Attach,
    Decoder,
    Ended,
    Frame,
    FrameError,
    Input,
    Resize,
    ScreenOutput,
    SendSignal,
    encode,
    encode_pieces,
)
from kled_agent.sessions.holder.link import connect_holder
from kled_agent.sessions.holder.shell import ShellJob
from kled_agent.sessions.program import Command
from kled_agent.sessions.terminal import TerminalRequest
from kled_wire.errors import InputError, UnavailableError
from kled_wire.scheduling import TypingPriority
from kled_wire.ssh.subsystems import SESSION_MODE_VARIABLE, SESSION_VARIABLE

_MODES: Final = ("", "rw", "ro", "join")


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRequest:
    """Which session a client wants, and how."""

    name: str
    read_only: bool = False
    may_start: bool = True


class HeldTerminal:
    """One attachment. Made by `attach`; looks to a channel like a program on a terminal."""

    def __init__(
        self,
        held: Held,
        *,
        read_only: bool,
        on_full: Callable[[], None],
        on_room: Callable[[], None],
    ) -> None:
        """Connect. Raises UnavailableError("session_silent")."""
        try:
            connection = connect_holder(held.directory)
        except OSError as exc:
            raise UnavailableError(
                "session_silent", f"session {held.name}: {exc.strerror}", hint="try again"
            ) from exc
        self.name = held.name
        self.ended: Ended | None = None
        self._read_only = read_only
        self._descriptor = Descriptor(connection.detach())
        self._queue = InputQueue(self._descriptor, on_full=on_full, on_room=on_room)
        self._decoder = Decoder()

    def attach(self, request: TerminalRequest) -> None:
        """Ask for the screen, and for what is written from now on."""
        self._send(
            Attach(
                columns=request.columns,
                rows=request.rows,
                width=request.width,
                height=request.height,
                read_only=self._read_only,
            )
        )

    def write_nowait(self, data: bytes) -> None:
        """What was typed."""
        if not self._read_only:
            self._queue.write_nowait(encode_pieces(Input, data))

    def end_nowait(self) -> None:
        """The client types no more, and may go on watching."""

    def resize(self, request: TerminalRequest) -> None:
        """The client's terminal has another size."""
        self._send(
            Resize(
                columns=request.columns,
                rows=request.rows,
                width=request.width,
                height=request.height,
            )
        )

    def send_signal(self, number: int) -> None:
        """Signal what is in the foreground."""
        self._send(SendSignal(name=signal.Signals(number).name.removeprefix("SIG")))

    def hang_up(self) -> None:
        """Detach: the session goes on."""
        self._descriptor.close()

    async def run(
        self, deliver: Callable[[bytes], trio.Event | None], priority: TypingPriority
    ) -> None:
        """Give output to `deliver` until the session or the attachment is over."""

        def on_data(data: bytes) -> trio.Event | None:
            out = bytearray()
            try:
                for frame in self._decoder.feed(data):
                    if isinstance(frame, ScreenOutput):
                        out += frame.data
                    elif isinstance(frame, Ended):
                        self.ended = frame
            except FrameError:
                self.hang_up()
            return deliver(bytes(out)) if out else None

        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._queue.run)
            await read_all(self._descriptor, on_data, priority)
            nursery.cancel_scope.cancel()
        self.hang_up()

    def _send(self, frame: Frame) -> None:
        self._queue.write_nowait(encode(frame))


def asked_session(environment: Mapping[str, str]) -> SessionRequest | None:
    """The session that a channel's variables ask for; None: they ask for none.

    Raises InputError("session_mode_invalid").
    """
    name = environment.get(SESSION_VARIABLE, "")
    if not name:
        return None
    mode = environment.get(SESSION_MODE_VARIABLE, "")
    if mode not in _MODES:
        raise InputError(
            "session_mode_invalid", f"{SESSION_MODE_VARIABLE} is {mode!r}", hint="rw, ro or join"
        )
    return SessionRequest(name=name, read_only=mode == "ro", may_start=mode in {"", "rw"})


async def open_held(
    sessions: SessionDirectory | None,
    asked: SessionRequest,
    command: Command,
    request: TerminalRequest,
    throttle: tuple[Callable[[], None], Callable[[], None]],
) -> HeldTerminal:
    """Attach to the session, started if it is not there; who only watches starts none.

    `throttle` is told when input has no room, and when it has again. Raises KledError.
    """
    if sessions is None:
        raise UnavailableError("sessions_unavailable", "this agent does not support named sessions")
    if asked.may_start:
        job = shell_job(asked.name, command, request)
        held, _ = await sessions.find_or_start(asked.name, job)
    else:
        held = sessions.find(asked.name)
    terminal = HeldTerminal(
        held, read_only=asked.read_only, on_full=throttle[0], on_room=throttle[1]
    )
    terminal.attach(request)
    return terminal


def shell_job(name: str, command: Command, request: TerminalRequest) -> ShellJob:
    """The login shell of a new session; what belongs to one client only is left out."""
    executable, argv = command.vector()
    environment = {**command.beginning(), **command.environment}
    for variable in (
        "SSH_AUTH_SOCK",
        "SSH_CONNECTION",
        "SSH_CLIENT",
        SESSION_VARIABLE,
        SESSION_MODE_VARIABLE,
    ):
        environment.pop(variable, None)
    become = command.user.popen_options()
    return ShellJob(
        executable=executable,
        argv=argv,
        environment={**environment, "TERM": request.term or "dumb", "KLED_SESSION": name},
        directory=command.user.directory(),
        terminal=replace(request, columns=request.columns or 80, rows=request.rows or 24),
        uid=become.get("user"),
        gid=become.get("group"),
        groups=become.get("extra_groups", ()),
    )
