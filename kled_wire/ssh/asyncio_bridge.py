"""A Trio stream as the asyncio transport that asyncssh wants.

asyncssh's connections are asyncio protocols. `carry` runs one over any Trio stream, inside a
`trio_asyncio.open_loop()`. What the protocol writes is sent at once where the stream is a plain
socket with room (a keystroke's echo then costs no task switch) and by a writer task otherwise.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import trio

from kled_wire.resume.stream import ResumableStream
from kled_wire.scheduling import TypingPriority
from kled_wire.transport.prefixed import PrefixedStream
from kled_wire.transport.vector import write_vector


class StreamTransport(asyncio.Transport):
    """The write side and the life of one bridged stream; made by `carry`."""

    def __init__(self, stream: trio.abc.HalfCloseableStream, priority: TypingPriority) -> None:
        super().__init__({"socket": getattr(getattr(stream, "socket", None), "_sock", None)})
        # Bytes that were read ahead are given out first; after that the bare socket is the faster
        # stream.
        self._ahead = b""
        if isinstance(stream, PrefixedStream):
            self._ahead = stream.take_prefix()
            stream = stream.transport_stream
        self._stream = stream
        self._priority = priority
        self._descriptor = _plain_descriptor(stream)
        self._readable = stream.socket if isinstance(stream, trio.SocketStream) else None
        self._held: list[bytes | memoryview] = []
        self._corks = 0
        self._pending: list[bytes | memoryview] = []
        self._wake = trio.Event()
        self._closing = False
        self._scope = trio.CancelScope()
        # Why the stream broke, where it says.
        self.reason = ""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send `data` or queue it; never blocks. SSH's channel windows bound what is queued."""
        self.writelines((data,))

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """As `write` for several pieces, without joining them."""
        if self._closing:
            return
        # asyncio lets a caller reuse its bytearray after write: keep what it holds now.
        self._held += [bytes(d) if isinstance(d, bytearray) else d for d in list_of_data]
        if not self._corks:
            self._flush()

    @contextmanager
    def corked(self) -> Iterator[None]:
        """Hold what is written inside the block and send it in one system call at its end."""
        self._corks += 1
        try:
            yield
        finally:
            self._corks -= 1
            if not self._corks and self._held:
                self._flush()

    def _flush(self) -> None:
        held, self._held = self._held, []
        if isinstance(self._stream, ResumableStream):
            self._stream.write_nowait(held)
            return
        if self._descriptor is not None and not self._pending:
            try:
                held = write_vector(self._descriptor, held)
            except OSError:
                self.abort()
                return
        if held:
            self._pending.extend(held)
            self._wake.set()

    def get_write_buffer_size(self) -> int:
        """Bytes accepted and not yet sent."""
        return sum(map(len, self._pending))

    def can_write_eof(self) -> bool:
        return False

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        """Send what is queued, then end."""
        self._closing = True
        self._wake.set()

    def abort(self) -> None:
        """End now; what is queued is lost."""
        self._closing = True
        self._scope.cancel()

    async def run(self, protocol: asyncio.Protocol) -> None:
        """Feed `protocol` until the stream ends or the transport is closed."""
        try:
            async with trio.open_nursery() as nursery:
                with self._scope:
                    nursery.start_soon(self._write_queued)
                    await self._read(protocol)
                nursery.cancel_scope.cancel()
        except* (trio.BrokenResourceError, trio.ClosedResourceError) as group:
            self._closing = True  # the protocol learns it from connection_lost
            self.reason = str(group.exceptions[0])

    async def _read(self, protocol: asyncio.Protocol) -> None:
        def deliver(data: bytes) -> None:
            with self.corked():
                protocol.data_received(data)

        if isinstance(self._stream, ResumableStream):
            await self._stream.receive_into(_in_our_loop(deliver), self._priority)
            protocol.eof_received()
            return
        data = self._ahead or await self._receive()
        while data:
            deliver(data)
            await self._priority.after_block(len(data))
            data = await self._receive()
        protocol.eof_received()

    async def _receive(self) -> bytes:
        """Some bytes, b"" at the end. From a bare socket without asking it in vain first."""
        if self._readable is None:
            return bytes(await self._stream.receive_some(self._priority.block_bytes()))
        while True:
            if self._readable.fileno() < 0:
                raise trio.ClosedResourceError("the stream was closed")
            await trio.lowlevel.wait_readable(self._readable)
            try:
                return os.read(self._readable.fileno(), self._priority.block_bytes())
            except BlockingIOError:
                continue
            except OSError as exc:
                raise trio.BrokenResourceError from exc

    async def _write_queued(self) -> None:
        while not (self._closing and not self._pending):
            await self._wake.wait()
            self._wake = trio.Event()
            while self._pending:
                data = b"".join(self._pending)
                self._pending.clear()
                # New writes queue behind this one: keep the order while send_all waits.
                self._descriptor, descriptor = None, self._descriptor
                await self._stream.send_all(data)
                self._descriptor = descriptor
        self._scope.cancel()


def _in_our_loop(deliver: Callable[[bytes], None]) -> Callable[[bytes], None]:
    """`deliver` for tasks that are not ours: asyncio looks for its loop in the calling task."""
    import trio_asyncio  # noqa: PLC0415 - an idle agent must not pay for it

    loop = trio_asyncio.current_loop.get()

    def call(data: bytes) -> None:
        trio_asyncio.current_loop.set(loop)
        deliver(data)

    return call


async def carry(
    stream: trio.abc.HalfCloseableStream,
    make_protocol: Callable[[], asyncio.Protocol],
    priority: TypingPriority | None = None,
    *,
    task_status: trio.TaskStatus[asyncio.Protocol] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run a protocol over `stream` to its end; the stream is closed, `connection_lost` called.

    What it reads waits for what is typed, of which `priority` knows. `started` gives the protocol
    once `connection_made` has returned.
    """
    transport = StreamTransport(stream, priority or TypingPriority())
    protocol = make_protocol()
    protocol.connection_made(transport)
    task_status.started(protocol)
    try:
        await transport.run(protocol)
    finally:
        try:
            await trio.aclose_forcefully(stream)
        finally:  # also when we are cancelled, which closing says again
            protocol.connection_lost(_loss(transport.reason))


def _loss(reason: str) -> Exception | None:
    """What asyncssh is told: its own words, unless we know better."""
    import asyncssh  # noqa: PLC0415 - as in StreamTunnel

    return asyncssh.ConnectionLost(reason) if reason else None


class StreamTunnel:
    """What asyncssh's `tunnel` argument wants: it makes a connection out of our stream."""

    def __init__(self, stream: trio.abc.HalfCloseableStream, nursery: trio.Nursery) -> None:
        import asyncssh  # noqa: PLC0415 - 30 MB that an idle agent must not pay

        self.logger = asyncssh.logging.logger
        self._stream = stream
        self._nursery = nursery

    async def create_connection(
        self, make_protocol: Callable[[], asyncio.Protocol], _host: str, _port: int
    ) -> tuple[None, asyncio.Protocol]:
        """Called by asyncssh on the asyncio side; the stream is carried by a task of ours."""
        import trio_asyncio  # noqa: PLC0415 - as above

        start = trio_asyncio.trio_as_aio(self._nursery.start)
        return None, await start(carry, self._stream, make_protocol)

    def close(self) -> None:
        """Nothing to do: the stream ends with its connection."""

    async def wait_closed(self) -> None:
        """Nothing to wait for."""


def _plain_descriptor(stream: trio.abc.Stream) -> int | None:
    return stream.socket.fileno() if isinstance(stream, trio.SocketStream) else None
