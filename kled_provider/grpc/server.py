"""A gRPC server for unary calls, over any trio stream: Terraform's plugin calls stream nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from urllib.parse import quote

import h2.events
import h2.exceptions
import trio

from kled_provider.grpc.connection import HttpConnection
from kled_provider.grpc.status import GrpcError, GrpcStatus, frame, unframe

# Terraform's own limit for what it accepts is 64 MiB (plugin/grpc_client: MaxCallRecvMsgSize), so
# nothing larger makes a round trip. It bounds all unfinished requests of a connection together.
MAX_REQUEST_BYTES = 64 << 20
# How long calls may go on once the peer is gone: longer than stopping a process takes.
GRACE_AFTER_EOF_S = 30.0

Handler = Callable[[str, bytes], Awaitable[bytes]]


@dataclass(slots=True)
class _Call:
    """A call whose request is still arriving."""

    path: str
    body: bytearray = field(default_factory=bytearray)


def decode_request(body: bytes, max_bytes: int = MAX_REQUEST_BYTES) -> bytes:
    """Return the one message in a request's body. Raises GrpcError."""
    rest = bytearray(body)
    message = unframe(rest, max_bytes)
    if message is None or rest:
        raise GrpcError(GrpcStatus.INVALID_ARGUMENT, "the request is not exactly one message")
    return message


async def serve_grpc(
    stream: trio.abc.Stream, handler: Handler, *, max_request_bytes: int = MAX_REQUEST_BYTES
) -> None:
    """Answer calls on one connection until the peer closes it, then close it too.

    `handler(path, message)` gives the reply or raises GrpcError; calls run at the same time. When
    the peer is gone, or speaks no HTTP/2, running calls get GRACE_AFTER_EOF_S to finish.
    """
    async with trio.open_nursery() as nursery:
        connection = HttpConnection(stream, is_client=False)
        answering = _Answering(connection, handler, nursery, max_request_bytes)
        try:
            await connection.open()
            await connection.receive(answering.take)
        finally:
            nursery.cancel_scope.deadline = trio.current_time() + GRACE_AFTER_EOF_S
            connection.disconnect()
            await trio.aclose_forcefully(stream)


class _Answering:
    def __init__(
        self,
        connection: HttpConnection,
        handler: Handler,
        nursery: trio.Nursery,
        max_request_bytes: int,
    ) -> None:
        self._max_request_bytes = max_request_bytes
        self._connection = connection
        self._h2 = connection.h2
        self._handler = handler
        self._nursery = nursery
        self._calls: dict[int, _Call] = {}  # requests not yet complete

    def take(self, event: h2.events.Event) -> None:
        """Take what the peer said."""
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

    def _begin(self, number: int, headers: dict[str, str]) -> None:
        self._calls[number] = _Call(headers.get(":path", ""))

    def _append(self, number: int, data: bytes) -> None:
        if (call := self._calls.get(number)) is None:
            return  # refused already
        call.body += data
        if sum(len(other.body) for other in self._calls.values()) > self._max_request_bytes:
            del self._calls[number]
            self._fail(number, GrpcStatus.RESOURCE_EXHAUSTED, "the request is too large")

    async def _answer(self, number: int, call: _Call) -> None:
        try:
            request = decode_request(bytes(call.body), self._max_request_bytes)
            reply = await self._handler(call.path, request)
        except GrpcError as error:
            self._fail(number, error.status, str(error))
        else:
            await self._reply(number, frame(reply))
        await self._connection.flush()

    async def _reply(self, number: int, body: bytes) -> None:
        """Send a successful reply."""
        try:
            if self._connection.is_open:
                headers = [(":status", "200"), ("content-type", "application/grpc")]
                self._h2.send_headers(number, headers)
            await self._connection.send_body(number, body)
            if self._connection.is_open:
                self._h2.send_headers(number, [("grpc-status", "0")], end_stream=True)
        except h2.exceptions.ProtocolError:
            return  # the peer reset the stream or closed the connection meanwhile

    def _fail(self, number: int, status: int, message: str) -> None:
        headers = [
            (":status", "200"),
            ("content-type", "application/grpc"),
            ("grpc-status", str(int(status))),
            ("grpc-message", quote(message, safe=" ")),
        ]
        try:
            if self._connection.is_open:
                self._h2.send_headers(number, headers, end_stream=True)
        except h2.exceptions.ProtocolError:
            return  # as in _reply
