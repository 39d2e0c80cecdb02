"""Two streams become one: splice(2) where both are plain sockets, a copy loop where not."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import trio

from kled_wire import limits
from kled_wire.transport.prefixed import PrefixedStream
from kled_wire.transport.pump import pump

# A stream that has moved this much is bulk, and gets larger pipes.
_BULK_BYTES: Final = 1024 * 1024
_CAN_SPLICE: Final = hasattr(os, "splice")
_FLAGS: Final = os.SPLICE_F_NONBLOCK | os.SPLICE_F_MOVE if _CAN_SPLICE else 0


@dataclass(slots=True, kw_only=True)
class Traffic:
    """Bytes moved so far, each way."""

    to_agent: int = 0
    to_client: int = 0

    def count_to_agent(self, count: int) -> None:
        self.to_agent += count

    def count_to_client(self, count: int) -> None:
        self.to_client += count


async def join(
    client: trio.abc.HalfCloseableStream, agent: trio.abc.HalfCloseableStream, traffic: Traffic
) -> None:
    """Carry bytes and half-closes both ways to the end of both. Closes neither stream.

    Raises trio.BrokenResourceError when one breaks.
    """
    client_socket = await _bare(client, agent, traffic.count_to_agent)
    agent_socket = await _bare(agent, client, traffic.count_to_client)
    if client_socket is None or agent_socket is None or not _CAN_SPLICE:
        await pump(
            client, agent, count_right=traffic.count_to_agent, count_left=traffic.count_to_client
        )
        return
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_splice, client_socket, agent_socket, traffic.count_to_agent)
            nursery.start_soon(_splice, agent_socket, client_socket, traffic.count_to_client)
    except* OSError as group:
        raise trio.BrokenResourceError("a stream broke") from group.exceptions[0]


async def _bare(
    stream: trio.abc.HalfCloseableStream,
    other: trio.abc.HalfCloseableStream,
    count: Callable[[int], None],
) -> trio.SocketStream | None:
    """The socket below `stream`, once what was read ahead of it has been passed on."""
    inner: object = stream
    if isinstance(stream, PrefixedStream):
        inner = stream.transport_stream
        if isinstance(inner, trio.SocketStream) and (ahead := stream.take_prefix()):
            await other.send_all(ahead)
            count(len(ahead))
    return inner if isinstance(inner, trio.SocketStream) else None


async def _splice(
    source: trio.SocketStream, sink: trio.SocketStream, count: Callable[[int], None]
) -> None:
    """Move one direction through a pipe, in the kernel. Raises OSError."""
    read_end, write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    pipe_bytes, moved, widened = 64 * 1024, 0, False
    try:
        while filled := await _fill(source, write_end, pipe_bytes):
            await _empty(read_end, sink, filled)
            moved += filled
            count(filled)
            if moved > _BULK_BYTES and not widened:
                pipe_bytes, widened = _widen(write_end, pipe_bytes), True
    finally:
        os.close(read_end)
        os.close(write_end)
    await sink.send_eof()


async def _fill(source: trio.SocketStream, write_end: int, size: int) -> int:
    """Move what the socket has into the empty pipe; 0 at its end.

    Waits first: what came in has just been taken, so asking at once would mostly be in vain, and
    the wait gives other streams their turn. That is one system call less for each keystroke.
    """
    while True:
        await trio.lowlevel.wait_readable(source.socket)
        try:
            return os.splice(source.socket.fileno(), write_end, size, flags=_FLAGS)
        except BlockingIOError:
            continue


async def _empty(read_end: int, sink: trio.SocketStream, size: int) -> None:
    while size:
        try:
            size -= os.splice(read_end, sink.socket.fileno(), size, flags=_FLAGS)
        except BlockingIOError:
            await trio.lowlevel.wait_writable(sink.socket)


def _widen(pipe: int, current: int) -> int:
    """A larger pipe where the user's budget (pipe(7), pipe-user-pages-soft) allows it."""
    try:
        return fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, limits.SPLICE_PIPE_BYTES)
    except OSError:
        return current
