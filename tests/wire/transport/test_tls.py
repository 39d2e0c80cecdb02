"""TLS as a half-closeable stream, over real sockets and against OpenSSL's own client."""

from __future__ import annotations

import hashlib
import os
import socket
import ssl
import threading
from collections.abc import Iterator

import pytest
import trio
import trio.testing
import trustme

from kled_wire.transport.tls import TlsStream
from tests.kit.sockets import trio_stream
from tests.wire import sockets
from tests.wire.sockets import read_all


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def server_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    return context


@pytest.fixture(params=["TLSv1_2", "TLSv1_3"])
def client_context(request: pytest.FixtureRequest, authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    context.minimum_version = context.maximum_version = ssl.TLSVersion[request.param]
    return context


async def _connect(
    client_context: ssl.SSLContext, server_context: ssl.SSLContext
) -> tuple[TlsStream, TlsStream]:
    near, far = sockets.pair()
    client = TlsStream(near, client_context, server_hostname="localhost")
    server = TlsStream(far, server_context, server_side=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.do_handshake)
        nursery.start_soon(server.do_handshake)
    return client, server


@pytest.fixture
async def ends(client_context: ssl.SSLContext, server_context: ssl.SSLContext) -> object:
    return await _connect(client_context, server_context)


Ends = tuple[TlsStream, TlsStream]


async def test_it_is_a_two_way_stream(
    client_context: ssl.SSLContext, server_context: ssl.SSLContext
) -> None:
    # Trio's half-close suite wants a second sender refused, where this one waits its turn, so
    # the half-close has tests of its own below.
    async def make() -> Ends:
        return await _connect(client_context, server_context)

    client, server = await make()
    with trio.testing.assert_checkpoints():
        await client.send_all(b"x")
    with trio.testing.assert_checkpoints():
        assert await server.receive_some(5) == b"x"
    with pytest.raises(ValueError, match="max_bytes"):
        await server.receive_some(0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.receive_some)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await server.receive_some()
        nursery.cancel_scope.cancel()
    await client.aclose()
    await client.aclose()
    with pytest.raises(trio.ClosedResourceError):
        await client.receive_some()
    with pytest.raises(trio.ClosedResourceError):
        await client.send_all(b"x")
    with pytest.raises(trio.ClosedResourceError):
        await client.send_eof()
    assert await server.receive_some() == b""
    await server.aclose()


async def test_each_direction_ends_by_itself(ends: Ends) -> None:
    client, server = ends
    await client.send_all(b"question")
    await client.send_eof()
    await client.send_eof()
    assert await read_all(server) == b"question"
    await server.send_all(b"an answer after the end")
    await server.send_eof()
    assert await read_all(client) == b"an answer after the end"
    with pytest.raises(trio.ClosedResourceError):
        await client.send_all(b"x")


async def test_the_end_loses_nothing_that_had_come_and_was_not_read(ends: Ends) -> None:
    client, server = ends
    await server.send_all(b"early ")
    # One byte is read, so that the rest of the record waits inside the client's session.
    assert await client.receive_some(1) == b"e"
    await server.send_all(b"and later ")
    await client.send_eof()
    assert await read_all(server) == b""
    await server.send_all(b"and last")
    await server.aclose()
    assert await read_all(client) == b"arly and later and last"


async def test_megabytes_both_ways_at_once_do_not_stop_each_other(ends: Ends) -> None:
    blob = os.urandom(2 * 1024 * 1024)
    client, server = ends
    got = {}

    async def send(stream: TlsStream) -> None:
        await stream.send_all(blob)
        await stream.send_eof()

    async def receive(stream: TlsStream) -> None:
        got[stream] = hashlib.sha256(await read_all(stream)).digest()

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            for stream in ends:
                nursery.start_soon(send, stream)
                nursery.start_soon(receive, stream)
    assert got == dict.fromkeys((client, server), hashlib.sha256(blob).digest())


async def test_a_sender_that_waits_does_not_stop_the_receiver(ends: Ends) -> None:
    client, server = ends
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.send_all, bytes(1024 * 1024))
        await trio.testing.wait_all_tasks_blocked()
        await server.send_all(b"hello")
        with trio.fail_after(5):
            assert await client.receive_some() == b"hello"
        nursery.cancel_scope.cancel()


async def test_a_peer_that_disappears_ends_the_reading(ends: Ends) -> None:
    client, server = ends
    await server.transport_stream.aclose()
    assert await client.receive_some() == b""
    with pytest.raises(trio.BrokenResourceError):
        await client.send_all(bytes(65536))


async def test_corrupt_bytes_break_the_stream(ends: Ends) -> None:
    client, server = ends
    await server.transport_stream.send_all(b"this is no TLS record at all")
    with pytest.raises(trio.BrokenResourceError):
        await client.receive_some()


async def test_closing_by_force_does_not_wait_for_a_peer_that_does_not_read(ends: Ends) -> None:
    client, _server = ends
    with trio.move_on_after(0.05):
        await client.send_all(bytes(1024 * 1024))
    began = trio.current_time()
    await trio.aclose_forcefully(client)
    assert trio.current_time() - began < 1


async def test_a_handshake_with_a_stranger_says_why(server_context: ssl.SSLContext) -> None:
    near, far = sockets.pair()
    client = TlsStream(near, ssl.create_default_context(), server_hostname="localhost")
    server = TlsStream(far, server_context, server_side=True)

    async def refused() -> None:
        with pytest.raises(trio.BrokenResourceError) as caught:
            await client.do_handshake()
        assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)

    async def told() -> None:
        with pytest.raises(trio.BrokenResourceError) as caught:
            await server.do_handshake()
        assert "alert" in str(caught.value.__cause__).lower()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(refused)
        nursery.start_soon(told)


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x16\x03\x01"])
async def test_a_handshake_with_something_else_breaks(said: bytes) -> None:
    near, far = sockets.pair()
    if said:
        await far.send_all(said)
    await far.send_eof()
    client = TlsStream(near, ssl.create_default_context(), server_hostname="localhost")
    with pytest.raises(trio.BrokenResourceError):
        await client.do_handshake()


@pytest.fixture
def peer(
    client_context: ssl.SSLContext,
) -> Iterator[tuple[socket.socket, list[bytes], threading.Thread]]:
    """OpenSSL in blocking mode in a thread: says hello, ends its side, reads to the end."""
    near, far = socket.socketpair()
    got: list[bytes] = []

    def talk() -> None:
        with client_context.wrap_socket(far, server_hostname="localhost") as secured:
            secured.sendall(b"hello")
            while data := secured.recv(65536):
                got.append(data)

    thread = threading.Thread(target=talk)
    thread.start()
    near.setblocking(False)
    yield near, got, thread
    thread.join(5)


async def test_it_speaks_with_openssl_itself(
    server_context: ssl.SSLContext,
    peer: tuple[socket.socket, list[bytes], threading.Thread],
) -> None:
    near, got, thread = peer
    raw = trio_stream(near)
    server = TlsStream(raw, server_context, server_side=True)
    await server.do_handshake()
    assert await server.receive_some() == b"hello"
    await server.send_all(b"x" * 300_000)
    await server.send_eof()
    await trio.to_thread.run_sync(thread.join)
    assert b"".join(got) == b"x" * 300_000
    await server.aclose()
