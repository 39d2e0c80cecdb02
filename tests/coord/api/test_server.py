"""AsgiServer over streams of every kind, and how it drains."""

from __future__ import annotations

import json
import socket
from functools import partial
from ipaddress import ip_network

import httpx
import pytest
import trio
import trio.testing
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from kled_coord.front.admission import Admission
from kled_coord.front.asgi import AsgiServer
from kled_coord.offload.stream import OffloadedStream
from kled_wire.transport.pump import pump
from tests.kit.sockets import trio_stream


class Wrapped(trio.abc.HalfCloseableStream):
    """A stream that replays some bytes first, as the front listener's does."""

    def __init__(self, inner, first: bytes) -> None:
        self.inner = inner
        self.first = first
        if hasattr(inner, "socket"):
            self.socket = inner.socket

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        if self.first:
            first, self.first = self.first, b""
            return first
        return await self.inner.receive_some(max_bytes)

    async def send_all(self, data) -> None:
        await self.inner.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self.inner.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        await self.inner.send_eof()

    async def aclose(self) -> None:
        await self.inner.aclose()


@pytest.fixture
def release() -> trio.Event:
    return trio.Event()


@pytest.fixture
def app(release) -> Starlette:
    async def about(request: Request) -> JSONResponse:
        client = request.client.host if request.client else None
        return JSONResponse({"scheme": request.url.scheme, "client": client})

    async def slow(_request: Request) -> JSONResponse:
        await release.wait()
        return JSONResponse({})

    return Starlette(routes=[Route("/about", about), Route("/slow", slow)])


@pytest.fixture
def server(app) -> AsgiServer:
    return AsgiServer(app, Admission())


async def until_close(stream) -> bytes:
    got = b""
    async for data in stream:
        got += data
    return got


async def test_plain_tcp_knows_the_peer(server, nursery) -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    nursery.start_soon(partial(trio.serve_listeners, server.serve_connection, listeners))
    port = listeners[0].socket.getsockname()[1]
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"http://127.0.0.1:{port}/about")
    assert answer.json() == {"scheme": "http", "client": "127.0.0.1"}


async def test_a_trusted_proxy_says_for_each_request_who_asks(app, server, nursery) -> None:
    believing = AsgiServer(app, Admission(), [ip_network("127.0.0.1")])
    told = {"X-Forwarded-For": "192.0.2.1, 192.0.2.2"}
    untold: dict[str, str] = {}
    garbage = {"X-Forwarded-For": "unknown"}

    async def clients(of: AsgiServer) -> list[str]:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(partial(trio.serve_listeners, of.serve_connection, listeners))
        url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}/about"
        # On one connection that is kept, as a proxy does for several clients.
        async with httpx.AsyncClient(limits=httpx.Limits(max_connections=1)) as client:
            return [
                (await client.get(url, headers=headers)).json()["client"]
                for headers in (told, untold, garbage)
            ]

    assert await clients(believing) == ["192.0.2.2", "127.0.0.1", "127.0.0.1"]
    assert await clients(server) == ["127.0.0.1"] * 3


async def test_tls_that_another_process_terminates_is_https_from_the_client_s_address(
    server, nursery
) -> None:
    async def behind(raw: trio.SocketStream) -> None:
        ours, theirs = socket.socketpair()
        plain, far = (trio_stream(end) for end in (ours, theirs))
        async with plain, far, trio.open_nursery() as both:
            both.start_soon(pump, raw, far)
            await server.serve_connection(OffloadedStream(plain, raw))

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    nursery.start_soon(partial(trio.serve_listeners, behind, listeners))
    port = listeners[0].socket.getsockname()[1]
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"http://127.0.0.1:{port}/about", headers={"Connection": "close"})
    assert answer.json() == {"scheme": "https", "client": "127.0.0.1"}


async def test_a_wrapper_without_a_socket_and_with_replayed_bytes(server, nursery) -> None:
    near, far = trio.testing.memory_stream_pair()
    nursery.start_soon(server.serve_connection, Wrapped(far, b"GET /about HTT"))
    await near.send_all(b"P/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    answer = await until_close(near)
    assert json.loads(answer.split(b"\r\n\r\n")[1]) == {"scheme": "http", "client": None}


@pytest.mark.parametrize(
    "sent",
    [b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 9000, b"\x16\x03\x01\x02\x00"],
)
async def test_noise_is_400_or_closed_and_the_next_is_served(server, nursery, sent) -> None:
    near, far = trio.testing.memory_stream_pair()
    nursery.start_soon(server.serve_connection, far)
    await near.send_all(sent)
    await near.send_eof()
    answer = await until_close(near)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 4")
    near, far = trio.testing.memory_stream_pair()
    nursery.start_soon(server.serve_connection, far)
    await near.send_all(b"GET /about HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert (await until_close(near)).startswith(b"HTTP/1.1 200")


async def test_a_drain_closes_idle_connections_and_waits_for_answers(
    server, nursery, release
) -> None:
    idle, far_idle = trio.testing.memory_stream_pair()
    busy, far_busy = trio.testing.memory_stream_pair()
    nursery.start_soon(server.serve_connection, far_idle)
    nursery.start_soon(server.serve_connection, far_busy)
    await busy.send_all(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
    await trio.testing.wait_all_tasks_blocked()
    drained = trio.Event()

    async def drain() -> None:
        await server.drain()
        drained.set()

    nursery.start_soon(drain)
    assert await until_close(idle) == b""
    await trio.testing.wait_all_tasks_blocked()
    assert not drained.is_set()
    release.set()
    assert (await until_close(busy)).startswith(b"HTTP/1.1 200")
    await drained.wait()


@pytest.mark.parametrize("path", ["/about", "/slow"])
async def test_a_client_that_has_gone_leaves_nothing_behind(
    server, nursery, release, path: str, autojump_clock: trio.testing.MockClock
) -> None:
    client, far = trio.testing.memory_stream_pair()
    began = trio.current_time()
    release.set()
    async with trio.open_nursery() as connection:
        connection.start_soon(server.serve_connection, far)
        await client.send_all(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        answer = b""
        while not answer.endswith(b"}"):
            answer += await client.receive_some()
        await trio.testing.wait_all_tasks_blocked()
        await client.aclose()
    # It ended at once, and not when an idle connection would.
    assert trio.current_time() - began < 1
