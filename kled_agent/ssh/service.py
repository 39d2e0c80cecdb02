"""The `ssh` stream kind, without asyncssh, which is imported at the first stream."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import trio

from kled_agent.ssh.identity import SessionDefaults, SshIdentity
from kled_agent.ssh.keys import AcceptedKeys
from kled_wire.control import messages
from kled_wire.eventlog import EventLog
from kled_wire.ssh.loading import load_with_asyncssh

if TYPE_CHECKING:
    from kled_agent.ssh.asyncio_host import AsyncioHost

_HOST: Final = "kled_agent.ssh.asyncio_host"


class SshService:
    """Hands streams to the asyncio host, which is started at the first. `nursery` holds it.

    A plain key comes in when `keys` has it for the stream's user; `on_key_used` is told its id.
    """

    def __init__(
        self,
        nursery: trio.Nursery,
        identity: SshIdentity,
        defaults: SessionDefaults,
        keys: AcceptedKeys,
        on_key_used: Callable[[str], None],
    ) -> None:
        self._nursery = nursery
        self._identity = identity
        self._defaults = defaults
        self._keys = keys
        self._on_key_used = on_key_used
        self._host: AsyncioHost | None = None
        self._making = trio.Lock()

    def renew(self, identity: SshIdentity) -> None:
        """Prove ourselves with a new certificate from now on.

        Raises ProtocolError("certificate_malformed"), only once a session has come.
        """
        if self._host is not None:
            self._host.renew(identity)
        self._identity = identity

    async def dismiss(self, reason: str) -> None:
        """Tell all clients why there is no more, and wait until they have gone."""
        if self._host is not None:
            await self._host.dismiss(reason)

    async def serve(
        self,
        stream: trio.abc.HalfCloseableStream,
        dial: messages.Dial,
        log: EventLog,
    ) -> None:
        """Serve SSH over `stream` to its end."""
        async with self._making:
            if self._host is None:
                # In a thread: meanwhile the client is answered, and other streams go on.
                await trio.to_thread.run_sync(load_with_asyncssh, _HOST)
                from kled_agent.ssh.asyncio_host import serve_asyncio_host  # noqa: PLC0415 - 25 MB

                self._host = await self._nursery.start(
                    serve_asyncio_host, self._identity, self._defaults
                )
        ended = trio.Event()
        keys = StreamKeys(self._keys, dial.user, self._on_key_used)
        await self._host.accept(stream, keys, log, ended)
        await ended.wait()


class StreamKeys:
    """The keys of the user whose stream it is (server.KeyCheck)."""

    def __init__(self, keys: AcceptedKeys, user: str, on_used: Callable[[str], None]) -> None:
        self._keys = keys
        self._user = user
        self._on_used = on_used

    def find(self, key: str) -> str | None:
        """The id of `key` when it is one of the user's."""
        return self._keys.find(self._user, key, trio.current_time())

    def used(self, key_id: str) -> None:
        """Somebody has come in with it."""
        self._on_used(key_id)
