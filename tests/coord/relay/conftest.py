"""Sockets that are closed when the test is over."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest
import trio

from tests.coord.relay.sockets import connected

StreamPair = tuple[trio.SocketStream, trio.SocketStream]


@pytest.fixture
async def make_streams() -> AsyncIterator[Callable[[], StreamPair]]:
    """Makes TCP connections to ourselves as Trio streams."""
    made: list[trio.SocketStream] = []

    def make() -> StreamPair:
        ends = connected()
        for end in ends:
            end.setblocking(False)
        first, second = (trio.SocketStream(trio.socket.from_stdlib_socket(end)) for end in ends)
        made.extend((first, second))
        return first, second

    yield make
    for stream in made:
        await trio.aclose_forcefully(stream)
