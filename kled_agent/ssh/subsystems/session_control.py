"""The SSH subsystem `kled-session`: list, kill, rename and read named sessions.

JSON lines both ways: {"op": "list" | "kill" | "rename" | "log", "name", "to", "bytes"}; the answer
is {"ok": true, …} or {"ok": false, "error": {code, message, hint, status}}, and for `log` before
it any number of {"data": base64}.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any, Final

import asyncssh
import trio

from kled_agent.sessions.directory import SessionDirectory
from kled_agent.sessions.holder.frames import Done, FrameError, LogData, ReadLog
from kled_wire.errors import InputError, KledError, UnavailableError

SUBSYSTEM: Final = "kled-session"
REQUEST_BYTES: Final = 4096
LOG_BYTES: Final = 1 << 30


class SessionControl(asyncssh.SSHServerSession[bytes]):
    """One channel of the subsystem. Requests are answered one after the other."""

    def __init__(self, nursery: trio.Nursery, sessions: SessionDirectory | None) -> None:
        self._nursery = nursery
        self._sessions = sessions
        self._channel: asyncssh.SSHServerChannel[bytes] | None = None
        self._held = bytearray()
        self._ended = False
        self._news = trio.Event()
        self._room = trio.Event()
        self._room.set()

    def connection_made(self, chan: asyncssh.SSHServerChannel[bytes]) -> None:
        self._channel = chan

    def session_started(self) -> None:
        self._nursery.start_soon(self._run)

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        self._held += data
        self._news.set()

    def eof_received(self) -> bool:
        self._ended = True
        self._news.set()
        return True

    def pause_writing(self) -> None:
        self._room = trio.Event()

    def resume_writing(self) -> None:
        self._room.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._channel = None
        self.eof_received()
        self.resume_writing()

    async def _run(self) -> None:
        while self._channel is not None:
            line, found, rest = self._held.partition(b"\n")
            if found:
                self._held = rest
                await self.answer(bytes(line))
            elif self._ended or len(self._held) > REQUEST_BYTES:
                break
            else:
                self._news = trio.Event()
                await self._news.wait()
        if self._channel is not None:
            self._channel.exit(0)

    async def answer(self, line: bytes) -> None:
        """Answer one request; what cannot be done is an answer too."""
        try:
            await self._do(_parse(line))
        except KledError as exc:
            error = {
                "code": exc.code, "message": exc.message, "hint": exc.hint, "status": exc.status
            }  # fmt: skip
            await self._say({"ok": False, "error": error})

    async def _do(self, request: dict[str, Any]) -> None:
        if self._sessions is None:
            raise UnavailableError(
                "sessions_unavailable", "this agent does not support named sessions"
            )
        name = str(request.get("name", ""))
        match request.get("op"):
            case "list":
                await self._say({"ok": True, "sessions": await self._list(self._sessions)})
            case "kill":
                await self._sessions.kill(name)
                await self._say({"ok": True})
            case "rename":
                await self._sessions.rename(name, str(request.get("to", "")))
                await self._say({"ok": True})
            case "log":
                await self._log(self._sessions, name, request.get("bytes"))
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

    async def _log(self, sessions: SessionDirectory, name: str, size: object) -> None:
        wanted = size if isinstance(size, int) and 0 < size < LOG_BYTES else LOG_BYTES
        held = sessions.find(name)
        try:
            async with sessions.link(held) as link:
                await link.send(ReadLog(size=wanted))
                while not isinstance(frame := await link.receive(), Done):
                    if frame is None:
                        raise UnavailableError("session_silent", f"session {name} has just ended")
                    if isinstance(frame, LogData):
                        await self._say({"data": base64.b64encode(frame.data).decode()})
        except (OSError, trio.BrokenResourceError, FrameError) as exc:
            raise UnavailableError("session_silent", f"session {name}: {exc}") from exc
        await self._say({"ok": True})

    async def _say(self, answer: Mapping[str, Any]) -> None:
        await self._room.wait()
        if self._channel is not None:
            self._channel.write(json.dumps(answer, separators=(",", ":")).encode() + b"\n")


def _parse(line: bytes) -> dict[str, Any]:
    try:
        request = json.loads(line)
    except (ValueError, RecursionError) as exc:
        raise InputError("session_request_invalid", f"the request is not JSON: {exc}") from exc
    if not isinstance(request, dict):
        raise InputError("session_request_invalid", "the request is not an object")
    return request
