"""A byte stream in WebSocket messages: half-close, ends, breaks, refusals."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing
import trio_websocket

from kled_wire.errors import NotFoundError, ProtocolError, UnavailableError
from kled_wire.http import upgrade
from kled_wire.http.headio import read_head
from kled_wire.transport.address import parse_url
from kled_wire.transport.open import open_carried
from kled_wire.transport.websocket import open_websocket
from kled_wire.transport.wscarrier import (
    MESSAGE_BYTES,
    CarriedStream,
    encode_accept,
)
from tests.kit.carrying import accept_carried
from tests.wire import sockets
from tests.wire.sockets import read_all, serving


async def _open(port: int, nursery: trio.Nursery) -> CarriedStream:
    address = parse_url(f"http://127.0.0.1:{port}")
    return await open_carried(address, "/s", headers={}, nursery=nursery)


@asynccontextmanager
async def _carried(
    serve: Callable[[CarriedStream], Awaitable[None]],
) -> AsyncIterator[CarriedStream]:
    """A client stream whose other end is given to `serve`."""

    async def handle(raw: trio.SocketStream) -> None:
        async with accept_carried(raw) as stream:
            await serve(stream)

    async with serving(handle) as port, trio.open_nursery() as nursery:
        stream = await _open(port, nursery)
        yield stream
        await stream.aclose()
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def _bare(
    serve: Callable[[trio_websocket.WebSocketConnection], Awaitable[None]],
) -> AsyncIterator[CarriedStream]:
    """As `_carried`, with a plain WebSocket as the peer."""

    async def handle(raw: trio.SocketStream) -> None:
        async with raw, trio.open_nursery() as nursery:
            request = await trio_websocket.wrap_server_stream(nursery, raw)
            await serve(await request.accept())
            nursery.cancel_scope.cancel()

    async with serving(handle) as port, trio.open_nursery() as nursery:
        stream = await _open(port, nursery)
        yield stream
        await stream.aclose()
        nursery.cancel_scope.cancel()


async def test_it_is_a_half_closeable_stream() -> None:
    """Without a clogged pair: trio-websocket does not say when a message would have to wait."""

    async def make() -> tuple[CarriedStream, CarriedStream]:
        near, far = sockets.pair()
        accepted: list[CarriedStream] = []

        async def accept() -> None:
            request = await trio_websocket.wrap_server_stream(nursery, far)
            accepted.append(CarriedStream(await request.accept(), far))

        async with trio.open_nursery() as accepting:
            accepting.start_soon(accept)
            connection = await open_websocket(
                nursery, near, parse_url("http://h"), "/", headers={}, max_message_size=1 << 20
            )
        return CarriedStream(connection, near), accepted[0]

    async with trio.open_nursery() as nursery:
        await trio.testing.check_half_closeable_stream(make, None)
        nursery.cancel_scope.cancel()


async def test_each_direction_ends_by_itself() -> None:
    async def answer_after_the_end(stream: CarriedStream) -> None:
        await stream.send_all(b"you said " + await read_all(stream))
        await stream.send_eof()
        assert await stream.receive_some() == b""

    async with _carried(answer_after_the_end) as client:
        await client.send_all(b"hi")
        await client.send_eof()
        assert await read_all(client) == b"you said hi"
        assert await client.receive_some() == b""


async def test_large_data_arrives_in_order_through_messages_of_bounded_size() -> None:
    blob = os.urandom(5 * MESSAGE_BYTES + 17)

    async def echo(connection: trio_websocket.WebSocketConnection) -> None:
        while message := await connection.get_message():
            assert len(message) <= MESSAGE_BYTES
            await connection.send_message(message)
        await connection.send_message(b"")

    async with _bare(echo) as client, trio.open_nursery() as nursery:

        async def send() -> None:
            await client.send_all(blob)
            await client.send_eof()

        nursery.start_soon(send)
        got = b""
        while data := await client.receive_some(1000):
            assert len(data) <= 1000
            got += data
    assert got == blob


async def test_a_normal_close_is_an_end() -> None:
    async def close(stream: CarriedStream) -> None:
        await stream.send_all(b"bye")
        await stream.aclose()

    async with _carried(close) as client:
        assert await read_all(client) == b"bye"
        with pytest.raises(trio.BrokenResourceError):
            await client.send_all(b"x")


async def test_a_close_with_another_code_breaks_the_stream() -> None:
    async def close(connection: trio_websocket.WebSocketConnection) -> None:
        await connection.aclose(1011, "oops")

    async with _bare(close) as client:
        with pytest.raises(trio.BrokenResourceError):
            await client.receive_some()


async def test_a_connection_that_just_ends_breaks_the_stream() -> None:
    async def vanish(connection: trio_websocket.WebSocketConnection) -> None:
        await connection._stream.aclose()

    async with _bare(vanish) as client:
        with pytest.raises(trio.BrokenResourceError):
            await client.receive_some()


async def test_what_the_accepting_side_raises_comes_out_as_it_is() -> None:
    broken = trio.Event()

    async def handle(raw: trio.SocketStream) -> None:
        try:
            async with raw, accept_carried(raw) as stream:
                await stream.receive_some()
        except trio.BrokenResourceError:
            broken.set()

    async with serving(handle) as port, trio.open_nursery() as nursery:
        client = await _open(port, nursery)
        await client._connection._stream.aclose()
        with trio.fail_after(5):
            await broken.wait()
        nursery.cancel_scope.cancel()


async def test_a_text_message_breaks_the_stream() -> None:
    async def chat(connection: trio_websocket.WebSocketConnection) -> None:
        await connection.send_message("hello")

    async with _bare(chat) as client:
        with pytest.raises(trio.BrokenResourceError, match="text message"):
            await client.receive_some()


async def test_a_cancelled_read_loses_nothing() -> None:
    gate = trio.Event()

    async def serve(stream: CarriedStream) -> None:
        await gate.wait()
        await stream.send_all(b"late")
        await stream.receive_some()

    async with _carried(serve) as client:
        with trio.move_on_after(0.02):
            await client.receive_some()
        gate.set()
        assert await client.receive_some() == b"late"


async def test_a_refusal_is_the_coordinators_error() -> None:
    async def refuse(stream: trio.SocketStream) -> None:
        await read_head(stream)
        await stream.send_all(upgrade.encode_error(NotFoundError("workspace_not_found", "no dev")))
        await stream.aclose()

    async with serving(refuse) as port, trio.open_nursery() as nursery:
        with pytest.raises(NotFoundError, match="no dev"):
            await _open(port, nursery)


@pytest.mark.parametrize("said", [b"", b"garbage\r\n\r\n", b"HTTP/1.1 101 S\r\nUpgrade: x\r\n\r\n"])
async def test_a_peer_that_speaks_no_websocket_refused_the_upgrade(said: bytes) -> None:
    async def other(stream: trio.SocketStream) -> None:
        await read_head(stream)
        await stream.send_all(said)
        await stream.aclose()

    async with serving(other) as port, trio.open_nursery() as nursery:
        with pytest.raises(UnavailableError) as caught, trio.fail_after(5):
            await _open(port, nursery)
    assert caught.value.code == "upgrade_refused"


async def test_a_peer_that_does_not_answer_is_left_when_the_deadline_comes() -> None:
    left = trio.Event()

    async def silent(stream: trio.SocketStream) -> None:
        async with stream:
            await read_head(stream)
            await read_all(stream)
            left.set()

    async with serving(silent) as port, trio.open_nursery() as nursery:
        with trio.move_on_after(0.05):
            await _open(port, nursery)
        with trio.fail_after(5):
            await left.wait()
        nursery.cancel_scope.cancel()


REQUEST = (
    b"GET /s HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def test_the_answer_to_a_request_is_that_of_the_standard() -> None:
    # RFC 6455, section 1.3.
    answer = encode_accept(REQUEST)
    assert answer.startswith(b"HTTP/1.1 101 ")
    assert b"\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in answer


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"Sec-WebSocket-Key", b"X-Key"),
        (b"Version: 13", b"Version: 12"),
        (b"Host: h\r\n", b""),
        (b"GET", b"PUT"),
    ],
)
def test_a_malformed_request_is_an_error(old: bytes, new: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        encode_accept(REQUEST.replace(old, new))
    assert caught.value.code == "head_malformed"
