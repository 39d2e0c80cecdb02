"""The asyncio host: runs asyncssh connections over Trio streams.

Imported when the first stream of kind `ssh` arrives: an idle agent does without its 30 MB.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from functools import partial
from typing import Any, Final

import asyncssh
import trio
import trio_asyncio

from kled_agent.ssh.fastpath import FastPathConnection
from kled_agent.ssh.forwards.forward import LAST_BYTES_S
from kled_agent.ssh.forwards.user_sockets import UserSockets
from kled_agent.ssh.identity import SessionDefaults, SshIdentity
from kled_agent.ssh.server import KeyCheck, SshServer, server_options
from kled_wire.errors import ProtocolError
from kled_wire.eventlog import EventLog
from kled_wire.scheduling import TypingPriority
from kled_wire.ssh.asyncio_bridge import carry

# Streams that have arrived and whose task has not been started yet; only a moment's worth.
_ARRIVALS: Final = 16
LOG: Final = EventLog(logging.getLogger("kled.agent.ssh"))


class AsyncioHost:
    """Serves SSH over streams; its options follow the identity. Made by `serve_asyncio_host`."""

    def __init__(
        self,
        nursery: trio.Nursery,
        identity: SshIdentity,
        defaults: SessionDefaults,
    ) -> None:
        self._nursery = nursery
        self._loop = asyncio.get_running_loop()
        self._defaults = defaults
        self._priority = TypingPriority()
        self._sockets = UserSockets(nursery, defaults.user, defaults.children)
        self._options = server_options(identity)
        # Each connection, and what is set at its end.
        self._open: dict[FastPathConnection, trio.Event] = {}
        self._send_arrival, self._arrivals = trio.open_memory_channel[
            tuple[trio.abc.HalfCloseableStream, KeyCheck, EventLog, trio.Event]
        ](_ARRIVALS)

    def renew(self, identity: SshIdentity) -> None:
        """Use a new certificate or other principals for connections from now on.

        Raises ProtocolError("certificate_malformed"), and goes on with the old ones.
        """
        try:
            self._options = server_options(identity)
        except ValueError as exc:  # asyncssh's KeyImportError is one
            raise ProtocolError("certificate_malformed", f"unusable certificate: {exc}") from exc

    async def accept(
        self,
        stream: trio.abc.HalfCloseableStream,
        keys: KeyCheck,
        log: EventLog,
        ended: trio.Event,
    ) -> None:
        """Serve one SSH connection over `stream`, which is ours from now on; then set `ended`.

        `keys` says which plain keys may come in on it.
        """
        await self._send_arrival.send((stream, keys, log, ended))

    async def run(self) -> None:
        """Start a task for each arrival, from here: tasks inherit the asyncio loop's context."""
        async for stream, keys, log, ended in self._arrivals:
            self._nursery.start_soon(self._serve, stream, keys, log, ended)

    async def dismiss(self, reason: str) -> None:
        """Tell all clients why there is no more, and wait until they have gone."""
        for connection in self._open:
            self._loop.call_soon(connection.dismiss, reason)
        for ended in list(self._open.values()):
            await ended.wait()

    def _make_connection(
        self, forwarding: trio.Nursery, keys: KeyCheck, log: EventLog, ended: trio.Event
    ) -> FastPathConnection:
        def make_server() -> SshServer:
            return SshServer(
                self._nursery, forwarding, self._sockets, self._defaults, self._priority, keys, log
            )

        connection = FastPathConnection(
            asyncio.get_running_loop(),
            asyncssh.SSHServerConnectionOptions(server_factory=make_server, **self._options),
        )
        self._open[connection] = ended
        return connection

    async def _serve(
        self,
        stream: trio.abc.HalfCloseableStream,
        keys: KeyCheck,
        log: EventLog,
        ended: trio.Event,
    ) -> None:
        """One connection to its end. A client's mistakes end only that connection."""
        try:
            async with trio.open_nursery() as forwarding:
                make = partial(self._make_connection, forwarding, keys, log, ended)
                await carry(stream, make, self._priority)
                ended.set()
                forwarding.cancel_scope.deadline = trio.current_time() + LAST_BYTES_S
        except* (asyncssh.Error, OSError) as group:
            log.info("ssh_ended", reason=str(group.exceptions[0]))
        except* Exception as group:  # noqa: BLE001 - the supervisor of connections: the others go on
            log.crash("ssh_failed", group)
        finally:
            ended.set()
            self._open = {each: event for each, event in self._open.items() if event is not ended}
            await trio.aclose_forcefully(stream)


def _log_failure(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    error = context.get("exception")
    if isinstance(error, BaseException):
        LOG.crash("ssh_callback_failed", error, reason=context.get("message"))
    else:
        LOG.error("ssh_callback_failed", reason=context.get("message"))


async def serve_asyncio_host(
    identity: SshIdentity,
    defaults: SessionDefaults,
    *,
    task_status: trio.TaskStatus[AsyncioHost] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Keep the asyncio loop for as long as the agent lives; sessions run in its nursery."""
    asyncssh.set_log_level(logging.ERROR)
    # The modules just imported live as long as we do: the collector need not walk them again,
    # which is milliseconds in the middle of somebody's typing.
    gc.freeze()
    async with trio_asyncio.open_loop() as loop, trio.open_nursery() as nursery:
        # trio-asyncio's own handler ends the loop, and with it every session, for one callback.
        loop.set_exception_handler(_log_failure)
        host = AsyncioHost(nursery, identity, defaults)
        task_status.started(host)
        await host.run()
