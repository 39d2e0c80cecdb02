"""The SSH connection as forwards see it: streams to ends over there, and listeners over there.

asyncssh calls back on the same thread (trio-asyncio), so plain attributes and Trio events suffice.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final

import asyncssh
import trio
import trio_asyncio

from kled_client.forward_spec import End, TcpEnd
from kled_client.ssh import aio, open_channel
from kled_client.ssh_channel import Channel
from kled_wire.errors import ConflictError, UnavailableError
from kled_wire.limits import CLEANUP_S, COPY_CHUNK_BYTES

# What may be under way to us in one connection; asyncssh's own 2 MiB is little for a long way.
WINDOW_BYTES: Final = 4 * 1024 * 1024
PACKET_BYTES: Final = 128 * 1024
# What may wait here before the peer is told to stop.
BUFFER_BYTES: Final = 1024 * 1024
# The usual packet. asyncssh cuts larger blocks itself, moving the rest of the block each time.
_BLOCK_BYTES: Final = 32 * 1024
_OPTIONS: Final[Mapping[str, Any]] = {
    "encoding": None, "window": WINDOW_BYTES, "max_pktsize": PACKET_BYTES
}  # fmt: skip
Accept = Callable[[trio.abc.HalfCloseableStream], None]
_LOG: Final = logging.getLogger("kled.client.forward")


class ChannelStream(asyncssh.SSHTCPSession[bytes], trio.abc.HalfCloseableStream):
    """One forwarded connection as a Trio stream; an end without EOF is a broken one."""

    def __init__(self, accept: Accept | None = None) -> None:
        self._accept = accept
        self._channel: Any = None
        self._received: deque[bytes] = deque()
        self._size = 0
        self._paused = self._ended = self._lost = self._closed = False
        self._news = trio.Event()
        self._room = trio.Event()
        self._room.set()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Some bytes, b"" at the end. Raises trio.BrokenResourceError, ClosedResourceError."""
        await trio.lowlevel.checkpoint()
        while not self._received:
            if self._closed:
                raise trio.ClosedResourceError
            if self._ended:
                return b""
            if self._lost:
                raise trio.BrokenResourceError("the connection in the workspace broke")
            self._news = trio.Event()
            await self._news.wait()
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
        await trio.lowlevel.checkpoint()
        # No public name says what the peer takes in one packet.
        block = max(getattr(self._channel, "_send_pktsize", 0), _BLOCK_BYTES)
        for start in range(0, len(view), block):
            await self.wait_send_all_might_not_block()
            try:
                self._channel.write(bytes(view[start : start + block]))
            except OSError as exc:
                raise trio.BrokenResourceError("the other side has closed") from exc

    async def wait_send_all_might_not_block(self) -> None:
        """Wait for room in the window."""
        await self._room.wait()
        if self._closed:
            raise trio.ClosedResourceError
        if self._lost:
            raise trio.BrokenResourceError("the connection in the workspace broke")

    async def send_eof(self) -> None:
        """End our direction; the other goes on."""
        await trio.lowlevel.checkpoint()
        if not self._lost and not self._closed:
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
        self._channel = chan

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

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncssh's
        self._lost = True
        self._news.set()
        self._room.set()


class SshWay:
    """One SSH connection to the workspace; made by `open_way`."""

    def __init__(self, connection: asyncssh.SSHClientConnection) -> None:
        self._connection = connection

    @property
    def is_lost(self) -> bool:
        """Whether nothing can be opened any more."""
        return bool(self._connection.is_closed())

    async def wait_lost(self) -> None:
        """Until the connection has ended, for whatever reason."""
        await aio(self._connection.wait_closed)

    async def open(self, end: End) -> trio.abc.HalfCloseableStream:
        """Connect from the workspace to `end`. Raises UnavailableError("forward_refused")."""
        made: list[ChannelStream] = []

        def factory() -> ChannelStream:
            made.append(ChannelStream())
            return made[0]

        try:
            if isinstance(end, TcpEnd):
                await aio(
                    self._connection.create_connection, factory, end.host, end.port, **_OPTIONS
                )
            else:
                await aio(self._connection.create_unix_connection, factory, end.path, **_OPTIONS)
        except asyncssh.Error as exc:
            raise UnavailableError(
                "forward_refused", f"the workspace cannot connect to {end}: {exc.reason}"
            ) from exc
        return made[0]

    @asynccontextmanager
    async def listening(self, end: End, accept: Accept) -> AsyncIterator[End]:
        """Let the workspace listen on `end`; gives where it does. Raises ConflictError."""
        try:
            if isinstance(end, TcpEnd):
                listener = await aio(
                    self._connection.create_server,
                    lambda _host, _port: ChannelStream(accept),
                    end.host,
                    end.port,
                    **_OPTIONS,
                )
            else:
                listener = await aio(
                    self._connection.create_unix_server,
                    lambda: ChannelStream(accept),
                    end.path,
                    **_OPTIONS,
                )
        except (asyncssh.Error, asyncssh.ChannelListenError) as exc:
            raise ConflictError(
                "remote_port_refused",
                f"the workspace does not listen on {end}: it is in use there, or not allowed",
                hint="kled ports WORKSPACE lists what listens",
            ) from exc
        try:
            yield _actual(end, listener)
        finally:
            listener.close()
            with trio.move_on_after(CLEANUP_S, shield=True):
                await aio(listener.wait_closed)

    async def subsystem(self, name: str) -> Channel:
        """Open an SSH subsystem. Raises UnavailableError("session_refused")."""
        return await open_channel(self._connection, None, env={}, subsystem=name)


def _actual(end: End, listener: asyncssh.SSHListener) -> End:
    if isinstance(end, TcpEnd) and end.port == 0:
        return TcpEnd(host=end.host, port=int(listener.get_port()))
    return end


@asynccontextmanager
async def open_way(
    connect: Callable[[], AbstractAsyncContextManager[asyncssh.SSHClientConnection]],
) -> AsyncIterator[SshWay]:
    """A connection from `connect`, for as long as the block runs. Raises as `connect`."""
    async with connect() as connection:
        yield SshWay(connection)


@asynccontextmanager
async def asyncio_world() -> AsyncIterator[None]:
    """One asyncio loop for the connections that follow one another, and for what runs over them."""
    async with trio_asyncio.open_loop() as loop:
        # trio-asyncio's own handler ends the loop, and with it every forward, for one callback.
        loop.set_exception_handler(
            lambda _loop, context: _LOG.warning("callback failed: %s", context.get("message"))
        )
        yield
