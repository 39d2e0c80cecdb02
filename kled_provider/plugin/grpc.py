"""A gRPC server for unary calls, over any trio stream.

Format: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md. No compression, no
streaming, no deadlines (`grpc-timeout`): Terraform's plugin calls use none of them.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from urllib.parse import quote

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import trio

# Terraform's own limit for what it accepts is 64 MiB (plugin/grpc_client: MaxCallRecvMsgSize), so
# nothing larger makes a round trip. It bounds all unfinished requests of a connection together.
MAX_REQUEST_BYTES = 64 << 20
RECEIVE_BYTES = 64 << 10
# h2's default window of 64 KiB means a stall per window; requests are bounded above anyway.
WINDOW_BYTES = 1 << 20
# How long calls may go on once the peer is gone: longer than stopping a process takes.
GRACE_AFTER_EOF_S = 30.0

Handler = Callable[[str, bytes], Awaitable[bytes]]


class GrpcStatus(enum.IntEnum):
    """The gRPC status codes used here."""

    INVALID_ARGUMENT = 3
    RESOURCE_EXHAUSTED = 8
    UNIMPLEMENTED = 12


class GrpcError(Exception):
    """Answers a call with a status other than OK."""

    def __init__(self, status: GrpcStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(slots=True)
class _Call:
    """A call whose request is still arriving."""

    path: str
    body: bytearray = field(default_factory=bytearray)


def decode_request(body: bytes) -> bytes:
    """Return the one message in a request's body. Raises GrpcError."""
    if len(body) < 5:
        raise GrpcError(GrpcStatus.INVALID_ARGUMENT, "the request holds no message")
    compressed, size = struct.unpack_from(">BI", body)
    if compressed:
        raise GrpcError(GrpcStatus.UNIMPLEMENTED, "compressed messages are not supported")
    if size != len(body) - 5:
        raise GrpcError(GrpcStatus.INVALID_ARGUMENT, "the request is not exactly one message")
    return body[5:]


async def serve_grpc(stream: trio.abc.Stream, handler: Handler) -> None:
    """Answer calls on one connection until the peer closes it, then close it too.

    `handler(path, message)` gives the reply or raises GrpcError; calls run at the same time. When
    the peer is gone, or speaks no HTTP/2, running calls get GRACE_AFTER_EOF_S to finish.
    """
    async with trio.open_nursery() as nursery:
        connection = _GrpcConnection(stream, handler, nursery)
        try:
            await connection.receive()
        finally:
            nursery.cancel_scope.deadline = trio.current_time() + GRACE_AFTER_EOF_S
            connection.disconnect()
            await trio.aclose_forcefully(stream)


class _GrpcConnection:
    def __init__(self, stream: trio.abc.Stream, handler: Handler, nursery: trio.Nursery) -> None:
        self._stream = stream
        self._handler = handler
        self._nursery = nursery
        self._calls: dict[int, _Call] = {}  # requests not yet complete
        self._open = True
        self._send_lock = trio.Lock()  # h2 makes bytes in order; they must leave in order
        self._window_opened = trio.Event()  # replaced each time it is set
        config = h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        self._h2 = h2.connection.H2Connection(config)

    async def receive(self) -> None:
        """Feed what arrives to h2 until the end of the stream or a violation of HTTP/2."""
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(WINDOW_BYTES)
        await self._flush()
        try:
            while self._open and (data := await self._stream.receive_some(RECEIVE_BYTES)):
                self._take(self._h2.receive_data(data))
                await self._flush()
        except trio.BrokenResourceError:
            return
        except (h2.exceptions.H2Error, UnicodeDecodeError):
            await self._flush()  # says GOAWAY with the reason

    def disconnect(self) -> None:
        """From here on nothing is sent."""
        self._open = False
        self._wake()

    def _take(self, events: Iterable[h2.events.Event]) -> None:
        for event in events:
            match event:
                case h2.events.RequestReceived(stream_id=number, headers=headers):
                    self._begin(number, {str(name): str(value) for name, value in headers})
                case h2.events.DataReceived(stream_id=number, data=data):
                    self._h2.acknowledge_received_data(event.flow_controlled_length, number)
                    self._append(number, data)
                case h2.events.StreamEnded(stream_id=number) if number in self._calls:
                    call = self._calls.pop(number)
                    self._nursery.start_soon(self._answer, number, call)
                case h2.events.StreamReset(stream_id=number):
                    # The caller is not interested any more; a running operation still finishes,
                    # and finds no stream to answer on.
                    self._calls.pop(number, None)
                    self._wake()
                case h2.events.WindowUpdated() | h2.events.RemoteSettingsChanged():
                    self._wake()
                case h2.events.ConnectionTerminated():
                    self._open = False

    def _begin(self, number: int, headers: dict[str, str]) -> None:
        self._calls[number] = _Call(headers.get(":path", ""))
        self._h2.increment_flow_control_window(WINDOW_BYTES, number)

    def _append(self, number: int, data: bytes) -> None:
        if (call := self._calls.get(number)) is None:
            return  # refused already
        call.body += data
        if sum(len(other.body) for other in self._calls.values()) > MAX_REQUEST_BYTES:
            del self._calls[number]
            self._fail(number, GrpcStatus.RESOURCE_EXHAUSTED, "the request is too large")

    async def _answer(self, number: int, call: _Call) -> None:
        try:
            reply = await self._handler(call.path, decode_request(bytes(call.body)))
        except GrpcError as error:
            self._fail(number, error.status, str(error))
        else:
            await self._reply(number, struct.pack(">BI", 0, len(reply)) + reply)
        await self._flush()

    async def _reply(self, number: int, body: bytes) -> None:
        """Send a successful reply, in pieces as the peer's windows allow."""
        try:
            if self._open:
                headers = [(":status", "200"), ("content-type", "application/grpc")]
                self._h2.send_headers(number, headers)
            rest = memoryview(body)
            while self._open and rest:
                window = self._h2.local_flow_control_window(number)
                if window <= 0:
                    await self._window_opened.wait()
                    continue
                size = min(window, self._h2.max_outbound_frame_size, len(rest))
                self._h2.send_data(number, bytes(rest[:size]))
                rest = rest[size:]
                await self._flush()
            if self._open:
                self._h2.send_headers(number, [("grpc-status", "0")], end_stream=True)
        except h2.exceptions.ProtocolError:
            return  # the peer reset the stream or closed the connection meanwhile

    def _fail(self, number: int, status: GrpcStatus, message: str) -> None:
        headers = [
            (":status", "200"),
            ("content-type", "application/grpc"),
            ("grpc-status", str(int(status))),
            ("grpc-message", quote(message, safe=" ")),
        ]
        try:
            if self._open:
                self._h2.send_headers(number, headers, end_stream=True)
        except h2.exceptions.ProtocolError:
            return  # as in _reply

    async def _flush(self) -> None:
        async with self._send_lock:
            data = self._h2.data_to_send()
            if not data:
                return
            try:
                await self._stream.send_all(data)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                self.disconnect()

    def _wake(self) -> None:
        self._window_opened.set()
        self._window_opened = trio.Event()
