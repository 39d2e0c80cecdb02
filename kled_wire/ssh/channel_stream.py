"""One forwarded connection, a channel of asyncssh's, as a Trio stream: the same at both ends.

asyncssh calls back on the same thread (trio-asyncio), so plain attributes and Trio events suffice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

import asyncssh
import trio

from kled_wire.limits import COPY_CHUNK_BYTES, SSH_PACKET_BYTES, SSH_WINDOW_BYTES
from kled_wire.ssh.window import bound_window
from kled_wire.transport.exclusive import Exclusive, check_size
from kled_wire.transport.pump import RefusableStream

# How much may wait here before the peer is told to stop.
BUFFER_BYTES: Final = 1024 * 1024
# The usual packet. asyncssh cuts larger blocks itself, moving the rest of the block each time.
_BLOCK_BYTES: Final = 32 * 1024
# The options that a channel is opened with.
OPTIONS: Final[Mapping[str, Any]] = {
    "encoding": None, "window": SSH_WINDOW_BYTES, "max_pktsize": SSH_PACKET_BYTES
}  # fmt: skip
Accept = Callable[["ChannelStream"], None]


class ChannelStream(asyncssh.SSHTCPSession[bytes], asyncssh.SSHUNIXSession[bytes], RefusableStream):
    """A session of a forward's channel. `accept` is called once it is open, where that is given.

    What came before the end is read whole, whether the peer then ended its direction, closed the
    channel (which OpenSSH does after its end) or the connection was lost, which is a break.
    """

    def __init__(
        self,
        accept: Accept | None = None,
        corked: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._accept = accept
        self._corked = corked
        self._channel: Any = None
        self._received: deque[bytes] = deque()
        self._size = 0
        self._paused = self._ended = self._lost = self._closed = self._eof_sent = False
        self._receiving = Exclusive("receiving from this stream")
        self._sending = Exclusive("sending on this stream")
        self._news = trio.Event()
        # Set while the channel is open and its window has room.
        self._room = trio.Event()
        self._refused = trio.Event()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Some bytes, b"" at the end. Raises trio.BrokenResourceError, ClosedResourceError."""
        check_size(max_bytes)
        with self._receiving:
            await trio.lowlevel.checkpoint()
            while not self._received and not self._closed:
                if self._ended:
                    return b""
                if self._lost:
                    raise trio.BrokenResourceError("the SSH connection was lost")
                self._news = trio.Event()
                await self._news.wait()
        if self._closed:
            raise trio.ClosedResourceError("this stream was closed")
        data = self._take(max_bytes or COPY_CHUNK_BYTES)
        self._size -= len(data)
        if self._paused and self._size < BUFFER_BYTES // 2:
            self._paused = False
            self._channel.resume_reading()
        return data

    def _take(self, most: int) -> bytes:
        pieces, size = [], 0
        while self._received and size < most:
            piece = self._received.popleft()
            if size + len(piece) > most:
                self._received.appendleft(piece[most - size :])
                piece = piece[: most - size]
            pieces.append(piece)
            size += len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Write, waiting while the peer's window is full. Raises as `receive_some`."""
        view = memoryview(data)
        with self._sending:
            self._check_sendable()
            await trio.lowlevel.checkpoint()
            while view:
                await self._wait_room()
                view = view[self._write(view) :]

    def _write(self, view: memoryview) -> int:
        """Write while there is room; how much that was."""
        # No public name says what the peer takes in one packet.
        block = max(getattr(self._channel, "_send_pktsize", 0), _BLOCK_BYTES)
        start = 0
        try:
            with self._corked():
                while start < len(view) and self._room.is_set():
                    self._channel.write(bytes(view[start : start + block]))
                    start += block
        except OSError as exc:
            raise trio.BrokenResourceError("the other side has closed") from exc
        return start

    async def wait_send_all_might_not_block(self) -> None:
        """Wait for room in the window."""
        with self._sending:
            await self._wait_room()

    async def _wait_room(self) -> None:
        await self._room.wait()
        self._check_sendable()
        if self._refused.is_set():
            raise trio.BrokenResourceError("the other side has closed")

    def _check_sendable(self) -> None:
        if self._closed or self._eof_sent:
            raise trio.ClosedResourceError("send_eof or aclose was called")

    async def wait_refused(self) -> None:
        """Wait until the peer has closed the channel, or the connection is lost."""
        await self._refused.wait()

    async def send_eof(self) -> None:
        """End our direction; the other goes on."""
        with self._sending:
            await self._room.wait()
            if self._closed:
                raise trio.ClosedResourceError("this stream was closed")
            if not self._refused.is_set() and not self._eof_sent:
                self._eof_sent = True
                self._channel.write_eof()

    async def aclose(self) -> None:
        """Close both directions; what was written still goes out."""
        self.close_nowait()
        await trio.lowlevel.checkpoint()

    def close_nowait(self) -> None:
        """As `aclose`, for callbacks."""
        if not self._closed:
            self._closed = True
            self._news.set()
            self._room.set()
            if self._channel is not None:
                self._channel.close()

    def connection_made(self, chan: Any) -> None:
        bound_window(chan)
        self._channel = chan
        self._room.set()

    def session_started(self) -> None:
        if self._accept is not None:
            self._accept(self)

    def data_received(self, data: bytes, datatype: int | None) -> None:  # noqa: ARG002  # asyncssh's
        if self._closed:
            return
        self._received.append(data)
        self._size += len(data)
        if not self._paused and self._size >= BUFFER_BYTES:
            self._paused = True
            self._channel.pause_reading()
        self._news.set()

    def eof_received(self) -> bool:
        self._ended = True
        self._news.set()
        return True  # our direction stays open

    def pause_writing(self) -> None:
        self._room = trio.Event()

    def resume_writing(self) -> None:
        self._room.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended = self._ended or exc is None
        self._lost = True
        self._news.set()
        self._room.set()
        self._refused.set()
