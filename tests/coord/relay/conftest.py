"""Sockets that are closed when the test is over."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest
import trio

from tests.coord.relay.sockets import connected
from tests.kit.sockets import trio_stream

StreamPair = tuple[trio.SocketStream, trio.SocketStream]


@pytest.fixture
async def make_streams() -> AsyncIterator[Callable[[], StreamPair]]:
    """Makes TCP connections to ourselves as Trio streams."""
    made: list[trio.SocketStream] = []

    def make() -> StreamPair:
        first, second = map(trio_stream, connected())
        made.extend((first, second))
        return first, second

    yield make
    for stream in made:
        await trio.aclose_forcefully(stream)
