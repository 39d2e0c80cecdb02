"""The stream of a connection whose TLS or WebSocket framing another process terminates."""

from __future__ import annotations

import trio

from kled_wire.transport.prefixed import PrefixedStream


class OffloadedStream(trio.abc.HalfCloseableStream):
    """`plain` carries the bytes; `connection` is our copy of what they come by.

    The copy is there for its address and its options, and must go when the stream is passed on.
    """

    def __init__(self, plain: trio.SocketStream, connection: trio.abc.HalfCloseableStream) -> None:
        self.plain = plain
        # The name that SSLStream uses for what it wraps.
        self.transport_stream = connection

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        return bytes(await self.plain.receive_some(max_bytes))

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self.plain.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self.plain.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        await self.plain.send_eof()

    async def aclose(self) -> None:
        try:
            await trio.aclose_forcefully(self.transport_stream)
        finally:
            await self.plain.aclose()


def plain_socket(stream: trio.abc.HalfCloseableStream) -> trio.SocketStream:
    """The socket that the plain bytes of a connection of the one port come by."""
    inner = stream.transport_stream if isinstance(stream, PrefixedStream) else stream
    plain = inner.plain if isinstance(inner, OffloadedStream) else inner
    assert isinstance(plain, trio.SocketStream), "what was accepted is a socket, or offloaded"
    return plain


async def unwrap(stream: trio.abc.HalfCloseableStream) -> bytes:
    """Close all below `plain_socket(stream)`; return what was read ahead of it.

    For a stream that another process gets: a copy of a socket that stayed here would keep the
    connection open.
    """
    inner = stream.transport_stream if isinstance(stream, PrefixedStream) else stream
    if isinstance(inner, OffloadedStream):
        await trio.aclose_forcefully(inner.transport_stream)
    return stream.take_prefix() if isinstance(stream, PrefixedStream) else b""
