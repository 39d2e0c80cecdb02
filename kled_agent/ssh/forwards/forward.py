"""Forwards at the agent: connections for a client, and listeners for a client.

asyncssh's own forwarder loses what a server says before its other half is there, and the end of
one that closes at once. Here asyncssh has the channels, Trio the sockets, and `pump` copies.
Tasks belong to the connection's nursery, which gives them some time after its end: what a client
has sent before it left still reaches its target.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import asyncssh
import trio
import trio_asyncio

from kled_agent.machine.addresses import open_port
from kled_agent.machine.users import LocalUser
from kled_agent.ssh.forwards.user_sockets import UserSockets
from kled_wire.eventlog import EventLog
from kled_wire.ssh.channel_stream import OPTIONS, ChannelStream
from kled_wire.transport.accepting import accept_forever
from kled_wire.transport.pump import pump

if TYPE_CHECKING:
    from kled_agent.ssh.fastpath import FastPathConnection

# How long what a client sent may take into its target after the connection's end.
LAST_BYTES_S: Final = 30.0
_BACKLOG: Final = 1024
# Ports that only root may listen on (ip(7)); the agent may be root where the user is not.
_PRIVILEGED_PORTS: Final = 1024
Dial = Callable[[], Awaitable[trio.SocketStream]]
# Opens a channel to the client for an accepted connection; asyncssh's, for the asyncio side.
OpenChannel = Callable[[Callable[[], ChannelStream], trio.SocketStream], Awaitable[Any]]


class Listener(asyncssh.SSHListener):
    """A listener as asyncssh keeps it for the connection; closing it ends no connection."""

    def __init__(self, port: int, scope: trio.CancelScope) -> None:
        super().__init__()
        self._port = port
        self._scope = scope

    def get_port(self) -> int:
        return self._port

    def close(self) -> None:
        self._scope.cancel()

    async def wait_closed(self) -> None:
        """Nothing to wait for: it closes itself."""


class AgentListener(Listener):
    """A listener for a client's agent, with its path."""

    def __init__(self, path: str, scope: trio.CancelScope) -> None:
        super().__init__(0, scope)
        self._path = path

    def get_path(self) -> str:
        """What sessions have as SSH_AUTH_SOCK."""
        return self._path


class Forwards:
    """The forwards of one connection. Its public coroutines are asyncio's, for asyncssh."""

    def __init__(
        self,
        connection: FastPathConnection,
        nursery: trio.Nursery,
        sockets: UserSockets,
        user: LocalUser,
        log: EventLog,
    ) -> None:
        self._connection = connection
        self._nursery = nursery
        self._sockets = sockets
        self._user = user
        self._log = log

    async def open_tcp(self, host: str, port: int) -> ChannelStream:
        """A session that leads to `host` and `port`. Raises asyncssh.ChannelOpenError."""
        return await self._open(partial(open_port, host, port))

    async def open_path(self, path: str) -> ChannelStream:
        """As `open_tcp`, to a Unix socket."""
        return await self._open(partial(self._sockets.connect, path))

    async def _open(self, dial: Dial) -> ChannelStream:
        start = trio_asyncio.trio_as_aio(self._nursery.start)
        channel: ChannelStream = await start(self._serve_asked, dial)
        return channel

    async def _serve_asked(
        self, dial: Dial, *, task_status: trio.TaskStatus[ChannelStream]
    ) -> None:
        try:
            target = await dial()
        except (OSError, ValueError, OverflowError) as exc:
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, _reason(exc)) from exc
        async with target, ChannelStream(corked=self._connection.corked) as channel:
            task_status.started(channel)
            await _join(channel, target)

    async def listen_tcp(self, host: str, port: int) -> Listener | bool:
        """Listen on `host` and `port` for the client, 0 for any port; False if that cannot be."""

        def connect(
            factory: Callable[[], ChannelStream], here: trio.SocketStream
        ) -> Awaitable[Any]:
            local, origin = here.socket.getsockname()[1], here.socket.getpeername()[:2]
            return self._connection.create_connection(factory, host, local, *origin, **OPTIONS)

        async def bind() -> list[trio.SocketListener]:
            if 0 < port < _PRIVILEGED_PORTS and self._user.uid != 0:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            return await _bind_all(host, port)

        return await self._listen(bind, connect, f"{host or '*'}:{port}")

    async def listen_path(self, path: str) -> Listener | bool:
        """As `listen_tcp`, at a Unix socket that the user alone may use."""

        def connect(
            factory: Callable[[], ChannelStream], _here: trio.SocketStream
        ) -> Awaitable[Any]:
            return self._connection.create_unix_connection(factory, path, **OPTIONS)

        async def bind() -> list[trio.SocketListener]:
            return [await self._sockets.listen(path)]

        return await self._listen(bind, connect, path)

    async def listen_for_agent(self) -> AgentListener | None:
        """A socket by which sessions reach the client's agent; None if that cannot be."""

        def connect(
            factory: Callable[[], ChannelStream], _here: trio.SocketStream
        ) -> Awaitable[Any]:
            return self._connection.create_agent_connection(factory)

        async def bind() -> list[trio.SocketListener]:
            return [await self._sockets.listen_privately()]

        made = await self._listen(bind, connect, "the client's agent", private=True)
        return made if isinstance(made, AgentListener) else None

    async def _listen(
        self,
        bind: Callable[[], Awaitable[list[trio.SocketListener]]],
        connect: OpenChannel,
        where: str,
        *,
        private: bool = False,
    ) -> Listener | bool:
        try:
            listeners = await trio_asyncio.trio_as_aio(bind)()
        except (OSError, ValueError, OverflowError) as exc:
            # The refusal itself has no room for a reason (RFC 4254, section 4).
            reason = f"cannot listen on {where}: {_reason(exc)}"
            self._log.info("forward_refused", reason=reason)
            self._connection.send_debug(reason)
            return False
        scope = trio.CancelScope()
        name = listeners[0].socket.getsockname()
        remove = (
            partial(self._sockets.remove, name, private=private) if isinstance(name, str) else None
        )
        self._nursery.start_soon(self._accept, listeners, connect, scope, remove)
        if private:
            return AgentListener(name, scope)
        return Listener(0 if isinstance(name, str) else name[1], scope)

    async def _accept(
        self,
        listeners: list[trio.SocketListener],
        connect: OpenChannel,
        scope: trio.CancelScope,
        remove: Callable[[], Awaitable[None]] | None,
    ) -> None:
        serve = partial(self._serve_accepted, connect)
        with scope:
            async with trio.open_nursery() as accepting:
                for listener in listeners:
                    accepting.start_soon(
                        accept_forever, listener, serve, self._nursery, self._say_used_up
                    )
        if remove is not None:
            with trio.CancelScope(shield=True):  # bounded: it is one unlink
                await remove()

    def _say_used_up(self, error: OSError) -> None:
        self._log.warning("forward_waits", reason=error.strerror)

    async def _serve_accepted(self, connect: OpenChannel, here: trio.SocketStream) -> None:
        async with here, ChannelStream(corked=self._connection.corked) as channel:
            # The client refuses, or whoever connected has left already: closing says so.
            with suppress(asyncssh.Error, OSError):
                await trio_asyncio.aio_as_trio(connect)(lambda: channel, here)
                await _join(channel, here)


async def _join(channel: ChannelStream, end: trio.SocketStream) -> None:
    with suppress(trio.BrokenResourceError):
        await pump(channel, end)


async def _bind_all(host: str, port: int) -> list[trio.SocketListener]:
    """A listener for each address of `host`, "" for all of this machine's, on one port."""
    found = await trio.socket.getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    listeners: list[trio.SocketListener] = []
    missing = OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
    try:
        for family, kind, protocol, _, address in dict.fromkeys(found):
            try:
                listener = await _bind(family, kind, protocol, (address[0], port, *address[2:]))
            except OSError as exc:
                # Names have IPv6 addresses on machines that have no IPv6.
                if exc.errno not in {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}:
                    raise
                missing = exc
                continue
            listeners.append(listener)
            port = port or listener.socket.getsockname()[1]
    except BaseException:
        for listener in listeners:
            listener.socket.close()
        raise
    if not listeners:
        raise missing
    return listeners


async def _bind(
    family: int, kind: int, protocol: int, address: tuple[object, ...]
) -> trio.SocketListener:
    made = trio.socket.socket(family, kind, protocol)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        await made.bind(address)
        made.listen(_BACKLOG)
    except BaseException:
        made.close()
        raise
    return trio.SocketListener(made)


def _reason(error: BaseException) -> str:
    """In the system's words, also where trio tried several addresses."""
    while not isinstance(error, OSError) or not error.strerror:
        if isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        elif error.__cause__ is not None:
            error = error.__cause__
        else:
            return str(error)
    return error.strerror
