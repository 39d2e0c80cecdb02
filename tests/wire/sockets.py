"""Connected sockets for tests of streams."""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import trio

from kled_wire.http.headio import read_head
from kled_wire.http.upgrade import RequestHead, parse_request
from kled_wire.transport.address import parse_url
from kled_wire.transport.open import upgrade_raw
from tests.kit.sockets import trio_stream

# What `pair` made; tests/wire/conftest.py closes it after each test.
made: list[trio.SocketStream] = []

Handler = Callable[[trio.SocketStream], Awaitable[None]]
Answer = Callable[[RequestHead, trio.SocketStream], Awaitable[None]]


def pair() -> tuple[trio.SocketStream, trio.SocketStream]:
    """Two ends with small buffers."""
    near, far = socket.socketpair()
    for end in (near, far):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    left, right = trio_stream(near), trio_stream(far)
    made.extend((left, right))
    return left, right


def clogged() -> tuple[trio.SocketStream, trio.SocketStream]:
    """Two ends neither of which takes another byte until the other is read."""
    near, far = pair()
    for end in (near, far):
        raw = end.socket._sock  # type: ignore[attr-defined]  # a write that does not wait
        try:
            while True:
                raw.send(bytes(4096))
        except BlockingIOError:
            continue
    return near, far


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[int]:
    """A TCP server on loopback; the port."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, handler, listeners)
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


async def read_all(stream: trio.abc.ReceiveStream) -> bytes:
    """Everything up to the end."""
    got = bytearray()
    while data := await stream.receive_some():
        got += data
    return bytes(got)


def answering(answer: Answer) -> Handler:
    """A server that reads one request head and gives it to `answer`."""

    async def handle(stream: trio.SocketStream) -> None:
        async with stream:
            await answer(parse_request(await read_head(stream)), stream)

    return handle


async def open_raw(
    url: str, path: str = "/", *, ssl_context: ssl.SSLContext | None = None
) -> trio.abc.HalfCloseableStream:
    """A kled-stream at `path` below `url`, as a client with a token."""
    headers = {"Authorization": "Bearer t"}
    with trio.fail_after(10):
        return await upgrade_raw(parse_url(url), path, headers=headers, ssl_context=ssl_context)


def reset(stream: trio.SocketStream) -> None:
    """Close with a RST."""
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.socket.close()
