"""One SSH session channel with Trio's manners: `receive` and `send` block, memory is bounded.

asyncssh calls back on the same thread (trio-asyncio), so plain attributes and Trio events suffice.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import Any

import asyncssh
import trio

from kled_wire.errors import UnavailableError
from kled_wire.ssh.window import bound_window

# How much may wait here before the peer is told to stop; SSH's window adds as much.
_BUFFER_BYTES = 2 * 1024 * 1024


class Channel(asyncssh.SSHClientSession[bytes]):
    """A session as asyncssh drives it, and the Trio side of it."""

    def __init__(self, buffer_bytes: int = _BUFFER_BYTES) -> None:
        self._buffer_bytes = buffer_bytes
        self.exit_status: int | None = None
        self.exit_signal: str | None = None
        self._channel: asyncssh.SSHClientChannel[bytes] | None = None
        self._received: deque[tuple[bytes, bool]] = deque()
        self._size = 0
        self._paused = False
        self._ended = False
        self._news = trio.Event()
        self._may_write = trio.Event()
        self._may_write.set()
        self._closed = trio.Event()
        self._error: Exception | None = None

    async def receive(self) -> tuple[bytes, bool] | None:
        """The next bytes and whether they are standard error; None at the end.

        Chunks of the same kind come joined. Raises what broke the connection.
        """
        while not self._received:
            if self._ended:
                await trio.lowlevel.checkpoint()
                return None
            self._news = trio.Event()
            await self._news.wait()
        data, is_stderr = self._received.popleft()
        if self._received and self._received[0][1] == is_stderr:
            parts = [data]
            while self._received and self._received[0][1] == is_stderr:
                parts.append(self._received.popleft()[0])
            data = b"".join(parts)
        self._size -= len(data)
        if self._paused and not self._received and self._channel is not None:
            self._paused = False
            self._channel.resume_reading()
        await trio.lowlevel.checkpoint()
        return data, is_stderr

    async def send(self, data: bytes) -> None:
        """Write to the peer's standard input; waits while its window is full.

        A peer that has closed the channel reads no more, but what it wrote may still wait for
        `receive`: `data` is then dropped.
        """
        await self._may_write.wait()
        if self._channel is not None and not self._closed.is_set():
            with suppress(BrokenPipeError):
                self._channel.write(data)
        await trio.lowlevel.checkpoint()

    def send_eof(self) -> None:
        """End the peer's standard input."""
        if self._channel is not None and not self._closed.is_set():
            self._channel.write_eof()

    def resize(self, columns: int, rows: int) -> None:
        """Tell the terminal on the other side its new size."""
        if self._channel is not None and not self._closed.is_set():
            self._channel.change_terminal_size(columns, rows)

    def close(self) -> None:
        """Close the channel; `wait_closed` then returns."""
        if self._channel is not None:
            self._channel.close()

    async def wait_closed(self) -> None:
        """Wait for the end. Raises UnavailableError("connection_lost")."""
        await self._closed.wait()
        if self._error is not None and self.exit_status is None and self.exit_signal is None:
            raise UnavailableError(
                "connection_lost",
                f"the connection to the workspace ended: {self._error}",
                hint="kled ping WORKSPACE",
            ) from self._error

    def connection_made(self, chan: Any) -> None:
        bound_window(chan)
        self._channel = chan

    def data_received(self, data: bytes, datatype: int | None) -> None:
        self._received.append((data, datatype == asyncssh.EXTENDED_DATA_STDERR))
        self._size += len(data)
        if self._size >= self._buffer_bytes and not self._paused and self._channel is not None:
            self._paused = True
            self._channel.pause_reading()
        self._news.set()

    def eof_received(self) -> bool:
        self._ended = True
        self._news.set()
        # Keep our direction open: the program may still be reading.
        return True

    def exit_status_received(self, status: int) -> None:
        self.exit_status = status

    def exit_signal_received(
        self,
        signal: str,
        core_dumped: bool,  # noqa: ARG002  # asyncssh's signature
        msg: str,  # noqa: ARG002
        lang: str,  # noqa: ARG002
    ) -> None:
        self.exit_signal = signal

    def pause_writing(self) -> None:
        self._may_write = trio.Event()

    def resume_writing(self) -> None:
        self._may_write.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._error = exc
        self._ended = True
        self._news.set()
        self._may_write.set()
        self._closed.set()
