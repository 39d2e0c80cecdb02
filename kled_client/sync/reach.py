"""Endpoints, wherever they are: a process here, an SSH subsystem of a workspace, or plain ssh."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

import trio

from kled_client.sync.place import SyncPlace
from kled_sync.session.sides.peer import Peer
from kled_sync.session.sides.streams import ByteStream, PipeStream
from kled_wire.errors import UnavailableError
from kled_wire.limits import CLEANUP_S
from kled_wire.names import WorkspaceRef
from kled_wire.pipes import widen_pipe
from kled_wire.ssh.subsystems import SYNC
from kled_wire.text import printable

if TYPE_CHECKING:
    import asyncssh

    from kled_client.ssh.channel import Channel

_FAR_COMMAND: Final = "kled sync-server"
# Without ServerAliveInterval ssh never notices a network that drops packets silently.
_SSH_OPTIONS: Final = (
    "-o", "ClearAllForwardings=yes", "-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=3",
)  # fmt: skip
# What a far end says before it ends; the last of it explains why.
_WORDS_BYTES: Final = 2000
Connect = Callable[[WorkspaceRef], "AbstractAsyncContextManager[asyncssh.SSHClientConnection]"]


@asynccontextmanager
async def open_peer(
    place: SyncPlace, name: str, env: Mapping[str, str], connect: Connect
) -> AsyncIterator[Peer]:
    """The endpoint at `place`, up until the block ends. `connect` reaches workspaces.

    Raises UnavailableError("sync_connection_lost") when it ends before, and as `connect` does.
    """
    async with _stream(place, env, connect) as stream, trio.open_nursery() as nursery:
        peer = Peer(name, stream)
        nursery.start_soon(peer.run)
        yield peer
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def _stream(
    place: SyncPlace, env: Mapping[str, str], connect: Connect
) -> AsyncIterator[ByteStream]:
    if place.workspace is not None:
        async with connect(place.workspace) as connection, _over_channel(connection) as channel:
            yield channel
        return
    command: tuple[str, ...] = (sys.executable, "-P", "-m", "kled_sync")
    if place.ssh is not None:
        command = ("ssh", "-T", *_SSH_OPTIONS, *place.ssh, _FAR_COMMAND)
    async with _process(command, env) as stream:
        yield stream


@asynccontextmanager
async def _process(command: tuple[str, ...], env: Mapping[str, str]) -> AsyncIterator[ByteStream]:
    """An endpoint, ended with its input. Raises UnavailableError("sync_far_end_missing")."""
    # The module must be found where an installation is not what Python looks through by itself.
    paths = os.pathsep.join(path for path in sys.path if path)
    try:
        process = await trio.lowlevel.open_process(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**env, "PYTHONPATH": paths},
        )
    except OSError as exc:
        raise UnavailableError(
            "sync_far_end_missing", f"{command[0]} cannot be started: {exc.strerror}"
        ) from exc
    for end in (process.stdin, process.stdout):
        if isinstance(end, trio.lowlevel.FdStream):
            widen_pipe(end.fileno())
    async with trio.open_nursery() as nursery:
        stream = _ProcessStream(process)
        nursery.start_soon(stream.pass_words_on)
        try:
            yield stream
        finally:
            with trio.move_on_after(CLEANUP_S, shield=True):
                assert process.stdin is not None
                await process.stdin.aclose()
                await process.wait()
            if process.returncode is None:
                process.kill()
                with trio.CancelScope(shield=True):
                    await process.wait()
            nursery.cancel_scope.cancel()


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

    def __init__(self, process: trio.Process) -> None:
        assert process.stdio is not None
        assert isinstance(process.stderr, trio.lowlevel.FdStream)
        super().__init__(process.stdio)
        self._process, self._stderr = process, process.stderr
        self._words = _Words()

    async def receive_into(self, space: memoryview) -> int:
        count = await super().receive_into(space)
        if not count:
            with trio.move_on_after(CLEANUP_S):
                await self._process.wait()
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
        # What came and did not fit into where it was wanted.
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
