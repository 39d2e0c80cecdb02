"""The agent's end of a resumable stream, for the fake: a Trio loop in a thread of its own."""

from __future__ import annotations

import contextlib
import socket

import trio

from kled_wire.errors import ProtocolError
from kled_wire.resume.driver import TransportLost
from kled_wire.resume.handshake import read_hello
from kled_wire.resume.state import StreamState
from kled_wire.resume.stream import ResumableStream
from kled_wire.transport.pump import pump
from tests.kit.sockets import trio_stream


def carry_resumable(outer: socket.socket, inner: socket.socket) -> None:
    """Take one new stream from `outer` to its end, its bytes from and to `inner`. Blocks."""
    trio.run(_carry, outer, inner)


async def _carry(outer: socket.socket, inner: socket.socket) -> None:
    _, transport = await read_hello(trio_stream(outer))
    stream = ResumableStream(StreamState())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_serve, stream, trio_stream(inner))
        with contextlib.suppress(TransportLost, ProtocolError, trio.BrokenResourceError):
            await stream.run_transport(transport, 0)
        nursery.cancel_scope.cancel()
    await trio.aclose_forcefully(transport)


async def _serve(stream: ResumableStream, inner: trio.SocketStream) -> None:
    async with inner:
        with contextlib.suppress(trio.BrokenResourceError):
            await pump(stream, inner)
        stream.reset("closed", "closed")
