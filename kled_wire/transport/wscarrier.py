"""A byte stream in WebSocket binary messages (RFC 6455), for proxies that pass nothing else.

One message carries up to 64 KiB; an empty message is the half-close. Text messages are an error.
"""

from __future__ import annotations

from typing import Final

import trio
import trio_websocket
import wsproto
from wsproto.events import AcceptConnection
from wsproto.utilities import RemoteProtocolError

from kled_wire import limits
from kled_wire.errors import ProtocolError
from kled_wire.transport.exclusive import Exclusive, check_size

MESSAGE_BYTES: Final = 64 * 1024


class CarriedStream(trio.abc.HalfCloseableStream):
    """`connection` as a byte stream. The connection's own reader task lives in its nursery."""

    def __init__(
        self,
        connection: trio_websocket.WebSocketConnection,
        transport: trio.abc.AsyncResource,
    ) -> None:
        """Carry over `connection`; `transport` below it is closed as well."""
        self._connection = connection
        self._transport = transport
        self._rest = b""
        self._ended = self._eof_sent = self._closed = False
        self._receiving = Exclusive("receiving from this stream")
        self._sending = Exclusive("sending on this stream")

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Bytes of the next message; b"" after the peer's half-close or close."""
        check_size(max_bytes)
        with self._receiving:
            await trio.lowlevel.checkpoint()
            if not self._rest and not self._ended and not self._closed:
                await self._receive_message()
        if self._closed:
            raise trio.ClosedResourceError("this stream was closed")
        size = len(self._rest) if max_bytes is None else max_bytes
        data, self._rest = self._rest[:size], self._rest[size:]
        return data

    async def _receive_message(self) -> None:
        try:
            message = await self._connection.get_message()
        except trio_websocket.ConnectionClosed as exc:
            if self._closed:
                return
            self._ended = True
            if exc.reason is not None and exc.reason.code == 1000:
                return
            raise trio.BrokenResourceError from exc
        if not isinstance(message, bytes):
            raise trio.BrokenResourceError("a text message on a byte stream")
        self._rest = message
        self._ended = not message

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send in messages of at most MESSAGE_BYTES. Raises trio.BrokenResourceError."""
        with self._sending:
            self._check_sendable()
            await trio.lowlevel.checkpoint()
            view = memoryview(data)
            for start in range(0, len(view), MESSAGE_BYTES):
                await self._send(bytes(view[start : start + MESSAGE_BYTES]))

    async def send_eof(self) -> None:
        with self._sending:
            if self._closed:
                raise trio.ClosedResourceError("this stream was closed")
            await trio.lowlevel.checkpoint()
            if not self._eof_sent:
                self._eof_sent = True
                await self._send(b"")

    def _check_sendable(self) -> None:
        if self._closed or self._eof_sent:
            raise trio.ClosedResourceError("send_eof or aclose was called")

    async def _send(self, message: bytes) -> None:
        try:
            await self._connection.send_message(message)
        except trio_websocket.ConnectionClosed as exc:
            if self._closed:
                raise trio.ClosedResourceError("this stream was closed") from exc
            raise trio.BrokenResourceError from exc

    async def wait_send_all_might_not_block(self) -> None:
        """Nobody can know: a message waits for the connection's own lock and buffer."""
        with self._sending:
            self._check_sendable()
            await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        """Say goodbye, for limits.CLEANUP_S at most, and close the transport."""
        self._closed = True
        with trio.move_on_after(limits.CLEANUP_S) as scope:
            scope.shield = True
            await self._connection.aclose()
        # trio-websocket does not close it when the other end has begun.
        await trio.aclose_forcefully(self._transport)


def encode_accept(request: bytes) -> bytes:
    """The answer to a WebSocket request, both whole heads. Raises ProtocolError("head_malformed").

    For a server that leaves the frames to somebody else.
    """
    server = wsproto.WSConnection(wsproto.ConnectionType.SERVER)
    try:
        server.receive_data(request)
    except RemoteProtocolError as exc:
        raise ProtocolError("head_malformed", f"the WebSocket request is malformed: {exc}") from exc
    return server.send(AcceptConnection())
