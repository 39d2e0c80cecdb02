"""Endpoints, wherever they are: a process here, an SSH subsystem of a workspace, or plain ssh."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import IO, TYPE_CHECKING, Final

import trio

from kled_client.sync.place import SyncPlace
from kled_client.sync.processes import EndpointProcess, start_endpoint
from kled_sync.session.sides.peer import Peer
from kled_sync.session.sides.streams import PipeStream
from kled_wire.errors import UnavailableError
from kled_wire.limits import CLEANUP_S
from kled_wire.names import WorkspaceRef
from kled_wire.ssh.subsystems import SYNC
from kled_wire.text import printable

if TYPE_CHECKING:
    import asyncssh

    from kled_client.ssh.channel import Channel

# How much of the far end's error output is kept; its last lines explain why it ended.
_WORDS_BYTES: Final = 2000
Connect = Callable[[WorkspaceRef], "AbstractAsyncContextManager[asyncssh.SSHClientConnection]"]


@asynccontextmanager
async def open_peer(
    place: SyncPlace,
    name: str,
    env: Mapping[str, str],
    connect: Connect,
    process: EndpointProcess | None = None,
) -> AsyncIterator[Peer]:
    """The endpoint at `place`, up until the block ends. `connect` reaches workspaces; `process` is
    the endpoint's where that was started before.

    Raises UnavailableError("sync_connection_lost") when it ends before, "sync_side_hangs", and as
    `connect` does.
    """
    async with _peer(place, name, env, connect, process) as peer, trio.open_nursery() as nursery:
        nursery.start_soon(peer.run)
        nursery.start_soon(peer.watch)
        yield peer
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def _peer(
    place: SyncPlace,
    name: str,
    env: Mapping[str, str],
    connect: Connect,
    process: EndpointProcess | None,
) -> AsyncIterator[Peer]:
    if place.workspace is not None:
        from kled_client.ssh.opening import ATTACHED  # noqa: PLC0415  # where there is a workspace

        async with connect(place.workspace) as connection, _over_channel(connection) as channel:
            # The stream below waits for a network that is away, which is no hang.
            attached = connection.get_extra_info(ATTACHED, default=_always)
            yield Peer(name, channel, attached)
        return
    if process is None:
        process = await trio.to_thread.run_sync(start_endpoint, place, env)
    async with _passing(process) as stream:  # ssh ends by itself where its server is away
        peer = Peer(name, stream)
        try:
            yield peer
        finally:
            if peer.hangs:  # and would not end with its input
                process.kill()


def _always() -> bool:
    return True


@asynccontextmanager
async def _passing(process: EndpointProcess) -> AsyncIterator[_ProcessStream]:
    """The pipes of an endpoint, which ends with its input."""
    stream = _ProcessStream(process)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stream.pass_words_on)
        try:
            yield stream
        finally:
            with trio.move_on_after(CLEANUP_S, shield=True):
                await stream.writer.aclose()
                await _wait(process)
            if process.returncode is None:
                process.kill()
                # One that waits for a disk which hangs does not even end when it is killed.
                with trio.move_on_after(CLEANUP_S, shield=True):
                    await _wait(process)
            await stream.reader.aclose()
            nursery.cancel_scope.cancel()


async def _wait(process: EndpointProcess) -> None:
    """Wait until it has ended; a thread waits on where that is cancelled."""
    await trio.to_thread.run_sync(process.wait, abandon_on_cancel=True)


def _taken(pipe: IO[bytes] | None) -> trio.lowlevel.FdStream:
    """An end of a pipe, which is Trio's from now on."""
    assert pipe is not None
    with pipe:
        return trio.lowlevel.FdStream(os.dup(pipe.fileno()))


class _Words:
    """The last bytes of standard error: their last line explains why the process ended."""

    def __init__(self) -> None:
        self._last = b""

    def add(self, data: bytes) -> None:
        self._last = (self._last + data)[-_WORDS_BYTES:]

    def explain(self) -> None:
        """Raises UnavailableError("sync_connection_lost") where something was said."""
        lines = self._last.decode("utf-8", "replace").strip().splitlines()
        if lines:
            said = printable(lines[-1])
            raise UnavailableError("sync_connection_lost", f"the far end of the sync ended: {said}")


class _ProcessStream(PipeStream):
    """A process's pipes; its standard error is copied to ours."""

    def __init__(self, process: EndpointProcess) -> None:
        super().__init__(trio.StapledStream(_taken(process.stdin), _taken(process.stdout)))
        self._process, self._stderr = process, _taken(process.stderr)
        self._words = _Words()

    async def receive_into(self, space: memoryview) -> int:
        count = await super().receive_into(space)
        if not count:
            with trio.move_on_after(CLEANUP_S):
                await _wait(self._process)
            with suppress(OSError):  # not until its end: a master of ssh's may keep it open
                self._take(os.read(self._stderr.fileno(), _WORDS_BYTES))
            self._words.explain()
        return count

    async def pass_words_on(self) -> None:
        """Copy standard error until its end: a process whose output is not read would block."""
        async with self._stderr:
            async for data in self._stderr:
                self._take(bytes(data))

    def _take(self, data: bytes) -> None:
        self._words.add(data)
        with suppress(OSError):
            os.write(2, data)


class _ChannelStream:
    """An SSH channel as a stream of bytes; what comes on standard error explains its end."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._words = _Words()
        # Bytes that were received and did not fit into the caller's buffer.
        self._rest = memoryview(b"")

    async def receive_into(self, space: memoryview) -> int:
        while not self._rest:
            received = await self._channel.receive()
            if received is None:
                self._words.explain()
                return 0
            data, is_stderr = received
            if is_stderr:
                self._words.add(data)
            else:
                self._rest = memoryview(data)
        count = min(len(space), len(self._rest))
        space[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    async def send_all(self, data: bytes | memoryview) -> None:
        await self._channel.send(bytes(data))


@asynccontextmanager
async def _over_channel(
    connection: asyncssh.SSHClientConnection,
) -> AsyncIterator[_ChannelStream]:
    from kled_client.ssh.connection import open_channel  # noqa: PLC0415  # asyncssh, when needed

    channel = await open_channel(connection, None, env={}, subsystem=SYNC)
    try:
        yield _ChannelStream(channel)
    finally:
        channel.send_eof()
        with trio.move_on_after(CLEANUP_S, shield=True):
            while await channel.receive() is not None:
                pass
        channel.close()
