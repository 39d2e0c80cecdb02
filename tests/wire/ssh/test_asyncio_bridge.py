"""A Trio stream as an asyncio transport: order, corks, ends."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing
import trio_asyncio

from kled_wire.resume.state import StreamState
from kled_wire.resume.stream import ResumableStream
from kled_wire.ssh.asyncio_bridge import StreamTransport, carry
from kled_wire.transport.prefixed import PrefixedStream
from tests.wire import sockets


class Recorder(asyncio.Protocol):
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.transport: StreamTransport | None = None
        self.data = b""
        self.events: list[str] = []
        self.error: Exception | None = None
        self.on_data: Callable[[bytes], None] = lambda _data: None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, StreamTransport)
        self.transport = transport
        self.events.append("made")

    def data_received(self, data: bytes) -> None:
        self.data += data
        self.on_data(data)

    def eof_received(self) -> None:
        self.events.append("eof")

    def connection_lost(self, exc: Exception | None) -> None:
        self.events.append("lost")
        self.error = exc


class Bridged:
    def __init__(
        self, protocol: Recorder, transport: StreamTransport, peer: trio.abc.HalfCloseableStream
    ) -> None:
        self.protocol, self.transport, self.peer = protocol, transport, peer
        self.ended = trio.Event()


def _hidden(stream: trio.abc.HalfCloseableStream) -> trio.abc.HalfCloseableStream:
    """`stream` so that no plain socket is seen: the writer task sends everything."""
    return trio.StapledStream(stream, stream)


@asynccontextmanager
async def _bridge(
    wrap: Callable[[trio.abc.HalfCloseableStream], trio.abc.HalfCloseableStream],
) -> AsyncIterator[Bridged]:
    near, far = sockets.pair()
    async with trio_asyncio.open_loop(), trio.open_nursery() as nursery:
        protocol = Recorder()

        async def run(*, task_status: trio.TaskStatus[asyncio.Protocol]) -> None:
            await carry(wrap(near), lambda: protocol, task_status=task_status)
            bridged.ended.set()

        bridged = Bridged(protocol, None, far)  # type: ignore[arg-type]  # set two lines down
        await nursery.start(run)
        assert protocol.transport is not None
        bridged.transport = protocol.transport
        yield bridged
        nursery.cancel_scope.cancel()
    assert protocol.events[0] == "made"
    assert protocol.events.count("lost") == 1


both = pytest.mark.parametrize("wrap", [lambda s: s, _hidden], ids=["socket", "stream"])
Wrap = Callable[[trio.abc.HalfCloseableStream], trio.abc.HalfCloseableStream]


async def _receive(stream: trio.abc.ReceiveStream, size: int) -> bytes:
    got = bytearray()
    while len(got) < size:
        data = await stream.receive_some(65536)
        assert data
        got += data
    return bytes(got)


@both
async def test_order_is_kept_however_little_the_socket_takes_at_once(wrap: Wrap) -> None:
    pieces = [os.urandom(n) for n in (1, 70_000, 3, 0, 200_000, 17, 4096)] * 6
    async with _bridge(wrap) as bridge:
        received = bytearray()
        async with trio.open_nursery() as nursery:

            async def drain() -> None:
                received.extend(await _receive(bridge.peer, sum(map(len, pieces))))

            nursery.start_soon(drain)
            for number, piece in enumerate(pieces):
                if number % 3 == 0:
                    bridge.transport.writelines([piece[:5], memoryview(piece)[5:]])
                else:
                    bridge.transport.write(piece)
                if number % 4 == 0:
                    await trio.lowlevel.checkpoint()
    wanted = b"".join(pieces)
    assert hashlib.sha256(received).digest() == hashlib.sha256(wanted).digest()


async def test_more_pieces_than_one_system_call_takes_arrive() -> None:
    async with _bridge(lambda s: s) as bridge:
        bridge.transport.writelines([b"%04d" % n for n in range(3000)])
        assert await _receive(bridge.peer, 12_000) == b"".join(b"%04d" % n for n in range(3000))


@both
async def test_a_callers_bytearray_may_change_after_the_write(wrap: Wrap) -> None:
    async with _bridge(wrap) as bridge:
        with bridge.transport.corked():
            data = bytearray(b"one")
            bridge.transport.write(data)
            data[:] = b"two"
        assert await _receive(bridge.peer, 3) == b"one"


async def test_a_cork_holds_until_the_outermost_block_ends() -> None:
    async with _bridge(lambda s: s) as bridge:
        with bridge.transport.corked():
            bridge.transport.write(b"a")
            with bridge.transport.corked():
                bridge.transport.write(b"b")
            with trio.move_on_after(0.02) as scope:
                await bridge.peer.receive_some()
            assert scope.cancelled_caught
        assert await bridge.peer.receive_some() == b"ab"


async def test_answers_to_one_read_are_sent_together() -> None:
    async with _bridge(lambda s: s) as bridge:

        def answer(data: bytes) -> None:
            for number in data:
                bridge.transport.write(bytes([number]))

        bridge.protocol.on_data = answer
        await bridge.peer.send_all(b"abc")
        assert await bridge.peer.receive_some() == b"abc"


@both
async def test_close_sends_what_is_queued_and_then_ends(wrap: Wrap) -> None:
    async with _bridge(wrap) as bridge:
        bridge.transport.write(bytes(300_000))
        bridge.transport.close()
        assert bridge.transport.is_closing()
        bridge.transport.write(b"after the close: lost")
        assert await _receive(bridge.peer, 300_000) == bytes(300_000)
        assert await bridge.peer.receive_some() == b""
        await bridge.ended.wait()


@both
async def test_abort_ends_at_once_even_when_the_peer_does_not_read(wrap: Wrap) -> None:
    async with _bridge(wrap) as bridge:
        bridge.transport.write(bytes(3_000_000))
        await trio.testing.wait_all_tasks_blocked()
        assert bridge.transport.get_write_buffer_size() < 3_000_000
        bridge.transport.abort()
        with trio.fail_after(5):
            await bridge.ended.wait()


@both
async def test_the_peers_end_is_told_once(wrap: Wrap) -> None:
    async with _bridge(wrap) as bridge:
        await bridge.peer.send_all(b"last")
        await bridge.peer.aclose()
        await bridge.ended.wait()
        assert bridge.protocol.data == b"last"
        assert bridge.protocol.events == ["made", "eof", "lost"]


@both
async def test_a_write_to_a_peer_that_is_gone_ends_the_connection(wrap: Wrap) -> None:
    async with _bridge(wrap) as bridge:
        await bridge.peer.aclose()
        for _ in range(3):
            bridge.transport.write(bytes(100_000))
        with trio.fail_after(5):
            await bridge.ended.wait()


async def test_what_was_read_ahead_is_delivered_first() -> None:
    async with _bridge(lambda s: PrefixedStream(b"SSH-2.0-x\r\n", s)) as bridge:
        await trio.testing.wait_all_tasks_blocked()
        await bridge.peer.send_all(b"more")
        await bridge.peer.send_eof()
        await bridge.ended.wait()
        assert bridge.protocol.data == b"SSH-2.0-x\r\nmore"


async def test_why_a_resumable_stream_broke_is_told() -> None:
    stream = ResumableStream(StreamState())
    async with _bridge(lambda _: stream) as bridge:
        stream.fail("unknown_stream", "the agent was restarted")
        with trio.fail_after(5):
            await bridge.ended.wait()
        assert str(bridge.protocol.error) == "the agent was restarted"


async def test_a_transport_that_was_closed_when_it_was_made_ends() -> None:
    class Refuser(Recorder):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            assert self.transport is not None
            self.transport.abort()

    near, _far = sockets.pair()
    refuser = Refuser()
    async with trio_asyncio.open_loop():
        with trio.fail_after(5):
            await carry(near, lambda: refuser)
    assert refuser.events == ["made", "lost"]
