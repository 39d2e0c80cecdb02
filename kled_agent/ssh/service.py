"""The `ssh` stream kind, without asyncssh: the island is imported when the first stream comes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from kled_agent.ssh.identity import SessionDefaults, SshIdentity
from kled_wire import messages
from kled_wire.eventlog import EventLog

if TYPE_CHECKING:
    from kled_agent.ssh.island import Island


class SshService:
    """Hands streams to the island, making it at the first. `nursery` holds it."""

    def __init__(
        self, nursery: trio.Nursery, identity: SshIdentity, defaults: SessionDefaults
    ) -> None:
        self._nursery = nursery
        self._identity = identity
        self._defaults = defaults
        self._island: Island | None = None
        self._making = trio.Lock()

    def renew(self, identity: SshIdentity) -> None:
        """Prove ourselves with a new certificate from now on.

        Raises ProtocolError("certificate_malformed"), only once a session has come.
        """
        if self._island is not None:
            self._island.renew(identity)
        self._identity = identity

    async def serve(
        self,
        stream: trio.abc.HalfCloseableStream,
        _dial: messages.Dial,
        log: EventLog,
    ) -> None:
        """Serve SSH over `stream` to its end."""
        async with self._making:
            if self._island is None:
                from kled_agent.ssh.island import serve_island  # noqa: PLC0415 - 25 MB, see above

                self._island = await self._nursery.start(
                    serve_island, self._identity, self._defaults
                )
        ended = trio.Event()
        await self._island.accept(stream, log, ended)
        await ended.wait()
