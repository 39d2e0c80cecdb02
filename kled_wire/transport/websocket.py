"""Open a WebSocket as a client, so that whatever answers instead is an error and not a crash."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import h11
import trio
import trio_websocket
import wsproto.utilities

from kled_wire.errors import KledError, UnavailableError
from kled_wire.http.heads import decode_refusal
from kled_wire.transport.address import Address


async def open_websocket(
    nursery: trio.Nursery,
    stream: trio.abc.Stream,
    address: Address,
    target: str,
    *,
    headers: Mapping[str, str],
    message_queue_size: int = 1,
    max_message_size: int,
) -> trio_websocket.WebSocketConnection:
    """Ask for a WebSocket over `stream`, which is closed when none comes to be.

    The connection's reader is a task of `nursery`. Once open, closing the stream is the caller's,
    who may have a goodbye to say. The caller owns the deadline. Raises the KledError the
    coordinator answered with, or UnavailableError("upgrade_refused").
    """

    async def ask(
        reader: trio.Nursery, cancel: Callable[[], None]
    ) -> trio_websocket.WebSocketConnection:
        return await trio_websocket.wrap_client_stream(
            reader,
            _EndWatcher(stream, cancel),  # type: ignore[arg-type]  # any stream will do; the annotation is narrower
            address.authority,
            target,
            extra_headers=[(k.encode(), v.encode()) for k, v in headers.items()],
            message_queue_size=message_queue_size,
            max_message_size=max_message_size,
        )

    connection: trio_websocket.WebSocketConnection = await nursery.start(_hold, stream, ask)
    return connection


async def _hold(
    stream: trio.abc.Stream,
    ask: Callable[
        [trio.Nursery, Callable[[], None]], Awaitable[trio_websocket.WebSocketConnection]
    ],
    *,
    task_status: trio.TaskStatus[trio_websocket.WebSocketConnection],
) -> None:
    """Let `ask` open the connection in a nursery of its own, and run its reader to the end.

    `ask` is given that nursery, and what to call when the stream ends before the handshake.
    """
    problem: KledError | None = None
    left_open = False
    try:
        async with trio.open_nursery() as reader:
            with trio.CancelScope() as handshake:
                connection = await ask(reader, handshake.cancel)
                left_open = True
                task_status.started(connection)
            if handshake.cancelled_caught:
                problem = _refused()
                reader.cancel_scope.cancel()
    except* trio_websocket.ConnectionRejected as group:
        # The reader raises it, which is why this nursery is there.
        problem = _rejected(group.exceptions[0])
    except* (trio_websocket.HandshakeError, h11.ProtocolError, wsproto.utilities.ProtocolError):
        # trio-websocket answers a malformed response, which a client cannot, and its reader
        # ends with the error of that.
        problem = _refused()
    finally:
        if not left_open:
            await trio.aclose_forcefully(stream)
    if problem is not None:
        raise problem


class _EndWatcher(trio.abc.Stream):
    """`stream`, telling `on_end` of its end: trio-websocket goes on waiting for the handshake."""

    def __init__(self, stream: trio.abc.Stream, on_end: Callable[[], None]) -> None:
        # The name that SSLStream uses for what it wraps.
        self.transport_stream = stream
        self._on_end = on_end

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        try:
            data = await self.transport_stream.receive_some(max_bytes)
        except trio.BrokenResourceError:
            self._on_end()
            raise
        if not data:
            self._on_end()
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self.transport_stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self.transport_stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self.transport_stream.aclose()


def _rejected(error: BaseException) -> KledError:
    if isinstance(error, trio_websocket.ConnectionRejected):
        return decode_refusal(error.status_code, error.body or b"")
    return _refused()  # a group inside the group; it says no more


def _refused() -> UnavailableError:
    return UnavailableError(
        "upgrade_refused",
        "the server did not accept the WebSocket upgrade",
        hint="a proxy on the path may block upgrades",
    )
