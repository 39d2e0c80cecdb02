"""A stream some bytes of which have already been read: they are given out again first."""

from __future__ import annotations

import trio


class PrefixedStream(trio.abc.HalfCloseableStream):
    """`stream`, preceded by `prefix`. What comes after a head often comes in the same read."""

    def __init__(self, prefix: bytes, stream: trio.abc.HalfCloseableStream) -> None:
        self._prefix = prefix
        # The name that SSLStream uses for what it wraps.
        self.transport_stream = stream

    def take_prefix(self) -> bytes:
        """The bytes not yet given out; they are gone from the stream afterwards."""
        prefix, self._prefix = self._prefix, b""
        return prefix

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """As the inner stream's, after the prefix."""
        if not self._prefix:
            return bytes(await self.transport_stream.receive_some(max_bytes))
        await trio.lowlevel.checkpoint()
        size = len(self._prefix) if max_bytes is None else max_bytes
        data, self._prefix = self._prefix[:size], self._prefix[size:]
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self.transport_stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self.transport_stream.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        await self.transport_stream.send_eof()

    async def aclose(self) -> None:
        await self.transport_stream.aclose()
