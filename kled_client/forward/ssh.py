"""The SSH connection as forwards see it: streams to ends over there, and listeners over there.

asyncssh calls back on the same thread (trio-asyncio), so plain attributes and Trio events suffice.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final

import asyncssh
import trio
import trio_asyncio

from kled_client.forward.spec import End, TcpEnd
from kled_client.ssh.channel import Channel
from kled_client.ssh.connection import SshClient, aio, open_channel
from kled_wire.errors import ConflictError, UnavailableError
from kled_wire.limits import CLEANUP_S
from kled_wire.ssh.channel_stream import OPTIONS, Accept, ChannelStream

_LOG: Final = logging.getLogger("kled.client.forward")


class SshWorkspaceConnection:
    """One SSH connection to the workspace; made by `open_connection`."""

    def __init__(self, connection: asyncssh.SSHClientConnection) -> None:
        self._connection = connection

    @property
    def is_lost(self) -> bool:
        """Whether nothing can be opened any more."""
        return bool(self._connection.is_closed())

    async def wait_lost(self) -> None:
        """Wait until the connection has ended, for whatever reason."""
        await aio(self._connection.wait_closed)

    async def open(self, end: End) -> trio.abc.HalfCloseableStream:
        """Connect from the workspace to `end`. Raises UnavailableError("forward_refused")."""
        made: list[ChannelStream] = []

        def factory() -> ChannelStream:
            made.append(ChannelStream())
            return made[0]

        try:
            if isinstance(end, TcpEnd):
                await aio(
                    self._connection.create_connection, factory, end.host, end.port, **OPTIONS
                )
            else:
                await aio(self._connection.create_unix_connection, factory, end.path, **OPTIONS)
        except asyncssh.Error as exc:
            raise UnavailableError(
                "forward_refused", f"the workspace cannot connect to {end}: {exc.reason}"
            ) from exc
        return made[0]

    @asynccontextmanager
    async def listening(self, end: End, accept: Accept) -> AsyncIterator[End]:
        """Let the workspace listen on `end`; gives where it does. Raises ConflictError."""
        try:
            if isinstance(end, TcpEnd):
                listener = await aio(
                    self._connection.create_server,
                    lambda _host, _port: ChannelStream(accept),
                    end.host,
                    end.port,
                    **OPTIONS,
                )
            else:
                listener = await aio(
                    self._connection.create_unix_server,
                    lambda: ChannelStream(accept),
                    end.path,
                    **OPTIONS,
                )
        except (asyncssh.Error, asyncssh.ChannelListenError) as exc:
            raise ConflictError(
                "remote_port_refused",
                f"the workspace does not listen on {end}: {self._why_not(end)}",
                hint="kled ports WORKSPACE lists what listens",
            ) from exc
        try:
            yield _actual(end, listener)
        finally:
            listener.close()
            with trio.move_on_after(CLEANUP_S, shield=True):
                await aio(listener.wait_closed)

    def _why_not(self, end: End) -> str:
        client = self._connection.get_owner()
        assert isinstance(client, SshClient)
        # The agent writes a listener so; it was sent an empty host for every address.
        where = f"{end.host.lower() or '*'}:{end.port}" if isinstance(end, TcpEnd) else end.path
        return client.why_not(f"listen on {where}") or "it is in use there, or not allowed"

    async def subsystem(self, name: str) -> Channel:
        """Open an SSH subsystem. Raises UnavailableError("session_refused")."""
        return await open_channel(self._connection, None, env={}, subsystem=name)


def _actual(end: End, listener: asyncssh.SSHListener) -> End:
    if isinstance(end, TcpEnd) and end.port == 0:
        return TcpEnd(host=end.host, port=int(listener.get_port()))
    return end


@asynccontextmanager
async def open_connection(
    connect: Callable[[], AbstractAsyncContextManager[asyncssh.SSHClientConnection]],
) -> AsyncIterator[SshWorkspaceConnection]:
    """A connection from `connect`, for as long as the block runs. Raises as `connect`."""
    async with connect() as connection:
        yield SshWorkspaceConnection(connection)


@asynccontextmanager
async def asyncio_world() -> AsyncIterator[None]:
    """One asyncio loop for the connections that follow one another, and for what runs over them."""
    async with trio_asyncio.open_loop() as loop:
        # trio-asyncio's own handler ends the loop, and with it every forward, for one callback.
        loop.set_exception_handler(
            lambda _loop, context: _LOG.warning("callback failed: %s", context.get("message"))
        )
        yield
