"""Copying both ways: everything arrives, each half-close too, and breaks are told plainly."""

from __future__ import annotations

import hashlib
import os
from functools import partial

import pytest
import trio
import trio.testing

from kled_wire.transport.pump import RefusableStream, pump
from tests.wire.sockets import read_all


async def test_each_half_close_is_carried_through_by_itself() -> None:
    client, left = trio.testing.memory_stream_pair()
    right, server = trio.testing.memory_stream_pair()
    counted: dict[str, int] = {"right": 0, "left": 0}
    async with trio.open_nursery() as nursery:
        nursery.start_soon(
            partial(
                pump,
                left,
                right,
                count_right=lambda n: counted.__setitem__("right", counted["right"] + n),
                count_left=lambda n: counted.__setitem__("left", counted["left"] + n),
            )
        )
        await client.send_all(b"question")
        await client.send_eof()
        assert await read_all(server) == b"question"
        await server.send_all(b"an answer after the end")
        await server.send_eof()
        assert await read_all(client) == b"an answer after the end"
    assert counted == {"right": 8, "left": 23}


async def test_a_broken_stream_is_one_broken_resource_error() -> None:
    _client, left = trio.testing.memory_stream_pair()
    right, server = trio.testing.memory_stream_pair()
    await server.aclose()
    await _client.send_all(b"x")
    with pytest.raises(trio.BrokenResourceError):
        await pump(left, right)


async def test_a_side_that_takes_no_more_is_still_heard_to_its_end() -> None:
    client, left = trio.testing.memory_stream_pair()
    right, server = trio.testing.memory_stream_pair()

    async def answer_without_reading() -> None:
        await server.receive_stream.aclose()
        await client.send_all(b"nobody reads this")
        await trio.testing.wait_all_tasks_blocked()
        # The client would wait for ever if nobody took it.
        await client.send_all(bytes(100_000))
        await server.send_all(b"413 too large")
        await server.send_eof()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer_without_reading)
        with pytest.raises(trio.BrokenResourceError):
            await pump(left, right)
    await left.aclose()
    assert await read_all(client) == b"413 too large"


class Refusable(RefusableStream):
    """A memory stream that can be told to take no more."""

    def __init__(self, inner: trio.abc.HalfCloseableStream) -> None:
        self._inner = inner
        self.refused = trio.Event()

    async def wait_refused(self) -> None:
        await self.refused.wait()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._inner.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._inner.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        await self._inner.send_eof()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self._inner.receive_some(max_bytes)

    async def aclose(self) -> None:
        await self._inner.aclose()


async def test_a_refusal_while_nothing_is_sent_ends_that_direction_alone() -> None:
    client, left = trio.testing.memory_stream_pair()
    inner, server = trio.testing.memory_stream_pair()
    right = Refusable(inner)

    async def refuse() -> None:
        await trio.testing.wait_all_tasks_blocked()
        right.refused.set()
        await client.send_all(b"dropped")
        await server.send_all(b"its last words")
        await server.send_eof()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(refuse)
        with pytest.raises(trio.BrokenResourceError, match="takes no more"):
            await pump(left, right)
    await left.aclose()
    assert await read_all(client) == b"its last words"


async def test_a_stream_closed_under_the_pump_is_one_broken_resource_error() -> None:
    _client, left = trio.testing.memory_stream_pair()
    right, _server = trio.testing.memory_stream_pair()
    await left.aclose()
    with pytest.raises(trio.BrokenResourceError):
        await pump(left, right)


async def test_a_bug_in_a_stream_is_not_taken_for_a_break() -> None:
    _client, left = trio.testing.memory_stream_pair()
    right, _server = trio.testing.memory_stream_pair()

    async def bug() -> None:
        await trio.lowlevel.checkpoint()
        raise ZeroDivisionError

    left.receive_stream.receive_some_hook = bug
    with pytest.RaisesGroup(ZeroDivisionError):
        await pump(left, right)


async def test_a_cancelled_pump_closes_neither_stream() -> None:
    client, left = trio.testing.memory_stream_pair()
    right, server = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pump, left, right)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    await left.send_all(b"still open")
    assert await client.receive_some() == b"still open"
    await right.send_all(b"this too")
    assert await server.receive_some() == b"this too"


async def test_megabytes_cross_real_sockets_unchanged_in_both_directions() -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    blob = os.urandom(4 * 1024 * 1024)

    async def relay(left: trio.SocketStream) -> None:
        right = await trio.open_tcp_stream("127.0.0.1", echo_port)
        async with left, right:
            await pump(left, right)

    async def echo(stream: trio.SocketStream) -> None:
        async with stream:
            while data := await stream.receive_some(65536):
                await stream.send_all(data)
            await stream.send_eof()

    echoes = await trio.open_tcp_listeners(0, host="127.0.0.1")
    echo_port = echoes[0].socket.getsockname()[1]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, relay, listeners)
        nursery.start_soon(trio.serve_listeners, echo, echoes)
        client = await trio.open_tcp_stream("127.0.0.1", port)
        async with client, trio.open_nursery() as both:
            both.start_soon(_send, client, blob)
            got = await read_all(client)
        nursery.cancel_scope.cancel()
    assert hashlib.sha256(got).digest() == hashlib.sha256(blob).digest()


async def _send(stream: trio.abc.HalfCloseableStream, data: bytes) -> None:
    await stream.send_all(data)
    await stream.send_eof()
