"""Servers that speak first, close at once, late or never: every byte arrives, in each direction."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from itertools import product

import pytest
import trio

from tests.agent.ssh.site import Site, forwarding
from tests.kit.sockets import free_port

SHORT, LONG = b"220 ready\n", os.urandom(1_000_000)
ROUNDS = {SHORT: 30, LONG: 4}
Serve = Callable[[bytes, trio.SocketStream], Awaitable[None]]


async def closes_at_once(greeting: bytes, stream: trio.SocketStream) -> None:
    async with stream:
        await stream.send_all(greeting)


async def closes_late(greeting: bytes, stream: trio.SocketStream) -> None:
    async with stream:
        await stream.send_all(greeting)
        while await stream.receive_some():
            pass


async def never_closes(greeting: bytes, stream: trio.SocketStream) -> None:
    await stream.send_all(greeting)
    await trio.sleep_forever()


async def resets(greeting: bytes, stream: trio.SocketStream) -> None:
    """Close with something unread, which resets the connection (RFC 1122, 4.2.2.13)."""
    async with stream:
        await trio.lowlevel.wait_readable(stream.socket)
        await stream.send_all(greeting)


@asynccontextmanager
async def _serving(serve: Serve, greeting: bytes, path: str) -> AsyncIterator[str]:
    if path:
        listener = trio.socket.socket(trio.socket.AF_UNIX)
        await listener.bind(path)
        listener.listen(1024)
        listeners = [trio.SocketListener(listener)]
    else:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, partial(serve, greeting), listeners)
        yield path or f"127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        nursery.cancel_scope.cancel()


async def _connect(address: str) -> trio.SocketStream:
    if address.isdigit():
        return await trio.open_tcp_stream("127.0.0.1", int(address))
    return await trio.open_unix_socket(address)


async def _read(stream: trio.SocketStream, size: int, *, to_end: bool) -> bytes:
    got = bytearray()
    with suppress(trio.BrokenResourceError):
        while (to_end or len(got) < size) and (data := await stream.receive_some()):
            got += data
    return bytes(got)


async def _check(here: str, serve: Serve, greeting: bytes) -> None:
    for _ in range(ROUNDS[greeting]):
        with trio.fail_after(20):
            async with await _connect(here) as stream:
                if serve is resets:
                    await stream.send_all(b"unread")
                if serve is closes_late:
                    await stream.send_eof()
                to_end = serve is not never_closes
                assert await _read(stream, len(greeting), to_end=to_end) == greeting


@pytest.mark.parametrize("kind", ["tcp", "unix"])
@pytest.mark.parametrize("way", ["-L", "-R"])
async def test_a_greeting_arrives_whole(site: Site, way: str, kind: str) -> None:
    # What a reset leaves unsent is the server's own loss: only a short greeting is surely out.
    cases = [*product((closes_at_once, closes_late, never_closes), ROUNDS), (resets, SHORT)]
    async with AsyncExitStack() as stack:
        forwards, here = [], []
        for number, (serve, greeting) in enumerate(cases):
            path = str(site.home / f"target{number}") if kind == "unix" else ""
            target = await stack.enter_async_context(_serving(serve, greeting, path))
            here.append(str(site.home / f"here{number}") if path else str(free_port()))
            forwards += [way, f"{here[-1]}:{target}"]
        await stack.enter_async_context(forwarding(site, *forwards))
        async with trio.open_nursery() as nursery:
            for address, (serve, greeting) in zip(here, cases, strict=True):
                nursery.start_soon(_check, address, serve, greeting)
