"""The SSH subsystem `kled-session`: lists, kills, renames and reads named sessions.

What is said is in kled_wire/ssh/subsystems.py.
"""

from __future__ import annotations

from typing import Any, Final

import asyncssh
import trio

from kled_agent.sessions.directory import SessionDirectory
from kled_agent.sessions.holder.frames import Done, FrameError, LogData, ReadLog
from kled_agent.ssh.subsystems.channel import SubsystemSession
from kled_wire.errors import InputError, KledError, UnavailableError
from kled_wire.eventlog import EventLog
from kled_wire.ssh.subsystems import (
    REQUEST_BYTES,
    LineReader,
    SessionCommand,
    decode_session_command,
    encode_line,
    encode_session_data,
    encode_session_error,
)

LOG_BYTES: Final = 1 << 30


class SessionControl(SubsystemSession):
    """One channel of the subsystem. Requests are answered one after the other."""

    crashed = "session_control_failed"

    def __init__(
        self, nursery: trio.Nursery, sessions: SessionDirectory | None, log: EventLog
    ) -> None:
        super().__init__(nursery, log)
        self._sessions = sessions
        self._lines = LineReader(REQUEST_BYTES)
        self._ended = False
        self._news = trio.Event()

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        self._lines.feed(data)
        self._news.set()

    def ended(self) -> None:
        self._ended = True
        self._news.set()

    async def serve(self) -> None:
        while self._channel is not None:
            line = self._lines.next_line()
            if line is not None:
                await self.answer(line)
            elif self._ended or self._lines.overlong:
                break
            else:
                self._news = trio.Event()
                await self._news.wait()

    async def answer(self, line: bytes) -> None:
        """Answer one request; what cannot be done is an answer too."""
        try:
            await self._do(decode_session_command(line))
        except KledError as exc:
            await self.say(encode_session_error(exc))

    async def _do(self, request: SessionCommand) -> None:
        if self._sessions is None:
            raise UnavailableError(
                "sessions_unavailable", "this agent does not support named sessions"
            )
        done = encode_line({"ok": True})
        match request.op:
            case "list":
                sessions = await self._list(self._sessions)
                await self.say(encode_line({"ok": True, "sessions": sessions}))
            case "kill":
                await self._sessions.kill(request.name)
                await self.say(done)
            case "rename":
                await self._sessions.rename(request.name, request.to)
                await self.say(done)
            case "log":
                await self._send_log(self._sessions, request.name, request.bytes)
                await self.say(done)
            case other:
                raise InputError("session_request_invalid", f"unknown request {other!r}")

    async def _list(self, sessions: SessionDirectory) -> list[dict[str, Any]]:
        return [
            {
                "name": found.name,
                "program": found.program,
                "pid": found.shell_pid,
                "clients": found.clients,
                "watchers": found.watchers,
                "columns": found.columns,
                "rows": found.rows,
                "created_at": found.created_at,
                "active_at": found.active_at,
                "output_bytes": found.output_total,
                "kept_bytes": found.kept_bytes,
            }
            for found in await sessions.list()
        ]

    async def _send_log(self, sessions: SessionDirectory, name: str, size: int | None) -> None:
        wanted = size if size is not None and 0 < size < LOG_BYTES else LOG_BYTES
        held = sessions.find(name)
        try:
            async with sessions.link(held) as link:
                await link.send(ReadLog(size=wanted))
                while not isinstance(frame := await link.receive(), Done):
                    if frame is None:
                        raise UnavailableError("session_silent", f"session {name} has just ended")
                    if isinstance(frame, LogData):
                        await self.say(encode_session_data(frame.data))
        except (OSError, trio.BrokenResourceError, FrameError) as exc:
            raise UnavailableError("session_silent", f"session {name}: {exc}") from exc
