"""A gRPC client over any trio stream: unary and streaming calls, several at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from urllib.parse import unquote

import h2.errors
import h2.events
import h2.exceptions
import trio

from kled_provider.grpc.connection import HttpConnection
from kled_provider.grpc.status import GrpcError, GrpcStatus, frame, unframe

# containerd's own limit for a message (defaults.DefaultMaxRecvMsgSize).
MAX_REPLY_BYTES = 16 << 20
# Saying that a call is not wanted any more takes one send on a local socket.
RESET_S = 1.0

Metadata = Sequence[tuple[str, str]]


class GrpcClient:
    """Calls over one connection, which `serve_client` makes."""

    def __init__(self, connection: HttpConnection) -> None:
        self._connection = connection
        self._calls: dict[int, ClientCall] = {}

    @property
    def is_open(self) -> bool:
        """Whether calls can be made."""
        return self._connection.is_open

    async def call(self, path: str, request: bytes, metadata: Metadata = ()) -> bytes:
        """Make a unary call. Raises GrpcError; UNAVAILABLE where the connection is gone."""
        async with self.open_call(path, metadata) as call:
            await call.send(request, is_last=True)
            reply = await call.receive()
            if reply is None:
                raise GrpcError(GrpcStatus.UNKNOWN, f"{path} answered nothing")
            # A message may come before a status that is an error.
            if await call.receive() is not None:
                raise GrpcError(GrpcStatus.UNKNOWN, f"{path} answered more than once")
        return reply

    @asynccontextmanager
    async def open_call(self, path: str, metadata: Metadata = ()) -> AsyncIterator[ClientCall]:
        """Begin a call, which leaves with its first message; it is reset where the context is left
        before its end. Raises GrpcError.
        """
        if not self._connection.is_open:
            raise _gone()
        headers = [
            (":method", "POST"),
            (":scheme", "http"),
            (":authority", "localhost"),
            (":path", path),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            *metadata,
        ]
        number = self._connection.h2.get_next_available_stream_id()
        call = self._calls[number] = ClientCall(self._connection, number)
        try:
            self._connection.h2.send_headers(number, headers)
            yield call
        finally:
            del self._calls[number]
            with trio.move_on_after(RESET_S, shield=True):
                await call.reset()

    def take(self, event: h2.events.Event) -> None:
        """Take what the peer said."""
        call = self._calls.get(getattr(event, "stream_id", None) or 0)
        match event:
            case h2.events.DataReceived(stream_id=number) if call is None:
                # The data is of a call that was left: all calls share the window of the connection.
                self._connection.h2.acknowledge_received_data(event.flow_controlled_length, number)
            case h2.events.DataReceived(data=data) if call is not None:
                call.take_data(data, event.flow_controlled_length)
            case (
                h2.events.ResponseReceived(headers=headers)
                | h2.events.TrailersReceived(headers=headers)
            ) if call is not None:
                call.take_headers({str(name): str(value) for name, value in headers})
            case h2.events.StreamEnded() if call is not None:
                call.finish(GrpcError(GrpcStatus.UNKNOWN, "the call ended without a status"))
            case h2.events.StreamReset() if call is not None:
                call.finish(GrpcError(GrpcStatus.UNAVAILABLE, "the call was reset"))

    def end_all(self) -> None:
        """Fail what is not answered: the connection is gone."""
        for call in self._calls.values():
            call.finish(_gone())


class ClientCall:
    """One call. One task sends, one receives."""

    def __init__(self, connection: HttpConnection, number: int) -> None:
        self._connection = connection
        self._number = number
        self._body = bytearray()
        self._unacknowledged: deque[int] = deque()
        self._status: GrpcError | None = None
        self._is_answered = False
        self._changed = trio.Event()

    async def send(self, message: bytes, *, is_last: bool = False) -> None:
        """Send one message, the last one or not. What the peer refused shows in `receive`."""
        try:
            await self._connection.send_body(self._number, frame(message))
            if is_last and self._connection.is_open:
                self._connection.h2.end_stream(self._number)
        except h2.exceptions.ProtocolError:
            return  # it has ended; `receive` says how
        await self._connection.flush()

    async def receive(self) -> bytes | None:
        """Return the next message; None at the end. Raises GrpcError."""
        while True:
            message = unframe(self._body, MAX_REPLY_BYTES)
            if message is not None:
                await self._acknowledge()
                return message
            if self._is_answered:
                if self._status is not None:
                    raise self._status
                return None
            await self._acknowledge()
            if not self._is_answered:
                await self._changed.wait()

    async def reset(self) -> None:
        """End the call here, whatever the peer has still to say."""
        if self._is_answered or not self._connection.is_open:
            return
        try:
            self._connection.h2.reset_stream(self._number, h2.errors.ErrorCodes.CANCEL)
        except h2.exceptions.ProtocolError:
            return
        await self._connection.flush()

    async def _acknowledge(self) -> None:
        """Open the window for what was read: a slow reader stops the peer, not this process."""
        size = sum(self._unacknowledged)
        self._unacknowledged.clear()
        if not size or not self._connection.is_open:
            return
        try:
            self._connection.h2.acknowledge_received_data(size, self._number)
        except h2.exceptions.ProtocolError:
            return
        await self._connection.flush()

    def take_data(self, data: bytes, flow_controlled_bytes: int) -> None:
        """Keep data of the body."""
        self._body += data
        self._unacknowledged.append(flow_controlled_bytes)
        self._wake()

    def take_headers(self, headers: dict[str, str]) -> None:
        """Read the status, which is in the trailers, or in the headers of a call without body."""
        if (code := headers.get("grpc-status")) is None:
            if headers.get(":status", "200") != "200":
                text = f"the server answered HTTP {headers[':status']}"
                self.finish(GrpcError(GrpcStatus.UNAVAILABLE, text))
            return
        number = int(code) if code.isdecimal() else int(GrpcStatus.UNKNOWN)
        message = unquote(headers.get("grpc-message", ""))
        self.finish(GrpcError(number, message) if number else None)

    def finish(self, status: GrpcError | None) -> None:
        """Note how the call ended; the first word counts."""
        if not self._is_answered:
            self._is_answered, self._status = True, status
            self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


async def serve_client(
    stream: trio.abc.Stream,
    *,
    task_status: trio.TaskStatus[GrpcClient] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Speak gRPC on `stream` until the peer closes it; `started` with the client.

    Calls that are not answered by then fail with UNAVAILABLE. Cancel to close it.
    """
    connection = HttpConnection(stream, is_client=True)
    client = GrpcClient(connection)
    try:
        await connection.open()
        task_status.started(client)
        await connection.receive(client.take)
    finally:
        connection.disconnect()
        client.end_all()
        await trio.aclose_forcefully(stream)


def _gone() -> GrpcError:
    return GrpcError(GrpcStatus.UNAVAILABLE, "the connection was closed")
