"""A stream whose framing another process terminates: what is closed, and what is passed on."""

from __future__ import annotations

import socket

import pytest
import trio
import trio.testing

from kled_coord.offload.stream import OffloadedStream, plain_socket, unwrap
from kled_wire.transport.prefixed import PrefixedStream
from tests.coord.relay.sockets import connected
from tests.kit.sockets import trio_stream
from tests.wire.sockets import clogged as clogged_pair
from tests.wire.sockets import pair as small_pair


def sockets() -> tuple[trio.SocketStream, trio.SocketStream]:
    first, second = connected()
    return trio_stream(first), trio_stream(second)


def pair() -> tuple[trio.SocketStream, trio.SocketStream]:
    first, second = socket.socketpair()
    return trio_stream(first), trio_stream(second)


async def test_it_is_the_plain_stream_with_a_half_close() -> None:
    (peer, connection), (far, plain) = sockets(), pair()
    stream = OffloadedStream(plain, connection)
    async with stream, peer, far:
        await stream.wait_send_all_might_not_block()
        await stream.send_all(b"there")
        await stream.send_eof()
        assert await far.receive_some() == b"there"
        assert await far.receive_some() == b""
        await far.send_all(b"back")
        assert await stream.receive_some(2) == b"ba"


@pytest.mark.parametrize("cancelled", [False, True])
async def test_closing_closes_both_also_when_cancelled(cancelled: bool) -> None:
    (peer, connection), (far, plain) = sockets(), pair()
    with trio.CancelScope() as scope:
        if cancelled:
            scope.cancel()
        await OffloadedStream(plain, connection).aclose()
    async with peer, far:
        assert await peer.receive_some() == b""
        assert await far.receive_some() == b""


async def test_what_is_passed_on_has_no_copies_left_below() -> None:
    (peer, connection), (far, tls), (last, websocket) = sockets(), pair(), pair()
    stream = PrefixedStream(b"ahead", OffloadedStream(websocket, OffloadedStream(tls, connection)))
    async with peer, far, last, websocket:
        assert plain_socket(stream) is websocket
        assert await unwrap(stream) == b"ahead"
        assert await unwrap(stream) == b""
        assert await peer.receive_some() == b""
        assert await far.receive_some() == b""
        await websocket.send_all(b"open still")
        assert await last.receive_some() == b"open still"


async def test_a_plain_socket_is_itself() -> None:
    peer, connection = sockets()
    async with peer, connection:
        assert plain_socket(connection) is connection
        assert plain_socket(PrefixedStream(b"", connection)) is connection
        assert await unwrap(connection) == b""
        await connection.send_all(b"open still")
        assert await peer.receive_some() == b"open still"


async def test_it_is_a_half_closeable_stream() -> None:
    def offloaded(
        ends: tuple[trio.SocketStream, trio.SocketStream],
    ) -> tuple[OffloadedStream, OffloadedStream]:
        near, far = small_pair()
        return OffloadedStream(ends[0], near), OffloadedStream(ends[1], far)

    async def make() -> tuple[OffloadedStream, OffloadedStream]:
        await trio.lowlevel.checkpoint()
        return offloaded(small_pair())

    async def clogged() -> tuple[OffloadedStream, OffloadedStream]:
        await trio.lowlevel.checkpoint()
        return offloaded(clogged_pair())

    await trio.testing.check_half_closeable_stream(make, clogged)
