"""The agent's end of a holder's socket, and the start of a holder."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import trio

from kled_agent.machine.orphans import Children
from kled_agent.sessions.holder.frames import Decoder, Frame, FrameError, encode
from kled_wire.errors import KledError, UnavailableError

# A holder answers within milliseconds; one that does not is stopped or its disk hangs.
ANSWER_S: Final = 5.0
_READ_BYTES: Final = 64 * 1024
SOCKET: Final = "s"


def connect_holder(directory: Path) -> socket.socket:
    """A connected socket, not blocking. Raises OSError when nobody listens.

    On Linux the directory goes by its descriptor: a socket's path may have 107 bytes only.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if sys.platform.startswith("linux"):
            at = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                connection.connect(f"/proc/self/fd/{at}/{SOCKET}")
            finally:
                os.close(at)
        else:
            connection.connect(str(directory / SOCKET))
        connection.setblocking(False)
    except BaseException:
        connection.close()
        raise
    return connection


class HolderLink:
    """Frames over one connection. Made by `open_link`."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._decoder = Decoder()
        self._received: deque[Frame] = deque()

    async def send(self, frame: Frame) -> None:
        """Send one frame. Raises trio.BrokenResourceError."""
        await self._stream.send_all(encode(frame))

    async def receive(self) -> Frame | None:
        """What the holder says next; None at the end. Raises FrameError, BrokenResourceError."""
        while not self._received:
            data = await self._stream.receive_some(_READ_BYTES)
            if not data:
                return None
            self._received.extend(self._decoder.feed(data))
        return self._received.popleft()

    async def ask(self, frame: Frame) -> Frame:
        """Send `frame`; the one that answers it. Raises UnavailableError("session_silent")."""
        try:
            with trio.fail_after(ANSWER_S):
                await self.send(frame)
                answer = await self.receive()
        except (trio.TooSlowError, trio.BrokenResourceError, FrameError) as exc:
            raise _silent() from exc
        if answer is None:
            raise _silent()
        return answer


def _silent() -> KledError:
    return UnavailableError("session_silent", "the session's holder does not answer")


@asynccontextmanager
async def open_link(directory: Path) -> AsyncIterator[HolderLink]:
    """A link to the holder of the session in `directory`, for the block. Raises OSError."""
    stream = trio.SocketStream(trio.socket.from_stdlib_socket(connect_holder(directory)))
    try:
        yield HolderLink(stream)
    finally:
        await trio.aclose_forcefully(stream)


async def start_holder(job: Mapping[str, Any], children: Children) -> Mapping[str, Any]:
    """Start a holder; what it said: its `pid` and `shell_pid`. Raises UnavailableError.

    It leaves our process tree by itself, and comes back as an orphan, if we are the reaper.
    """
    environment = {
        name: value
        for name in ("PATH", "LANG", "PYTHONPATH", "VIRTUAL_ENV")
        if (value := os.environ.get(name))
    }
    with children.starting():
        done = await trio.run_process(
            [sys.executable, "-P", "-m", "kled_agent.sessions.holder.process"],
            stdin=json.dumps(job).encode(),
            capture_stdout=True,
            capture_stderr=True,
            env=environment,
            check=False,
        )
    try:
        said = json.loads(done.stdout)
    except ValueError as exc:
        last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise UnavailableError("session_not_started", f"the holder did not start: {last}") from exc
    if "error" in said:
        what = f"{said['what']}: " if said.get("what") else ""
        raise UnavailableError("session_not_started", f"{what}{said['error']}")
    assert isinstance(said, dict)
    return said
