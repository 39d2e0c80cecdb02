"""Ends a user's access and everything that depends on it.

Streams and followed logs of this process end at once. Other streams may be in relay processes of an
earlier coordinator, on direct paths, or waiting at the agent for their client. So the coordinator
asks the agents of the user's workspaces for the grants they serve, and names those that have ended.
Agents also send their grants after each welcome and with their reports, so the end reaches agents
that are not connected now, and is not lost by a restart of the coordinator.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final, Never, Protocol

import structlog
import trio

from kled_coord.identity.grants import decode_grant
from kled_coord.identity.openings import Openings
from kled_coord.store.agents import agents_of_owners
from kled_coord.store.engine import Store
from kled_coord.store.errors import StoreError
from kled_coord.store.standing import holding
from kled_wire.names import AgentId, UserId

_RETRY_S: Final = 1.0

log = structlog.get_logger(__name__)


class Links(Protocol):
    """Reaches the agents (workspaces/presence.py)."""

    async def ask_grants(self, agent_id: AgentId) -> None:
        """Ask a connected agent to say again which grants it holds; others will by themselves."""
        ...


class KeyHolders(Protocol):
    """Tells agents of registered keys (kled_coord/workspaces/key_holders.py)."""

    async def tell(self, user_id: UserId) -> Sequence[str]:
        """Give the user's agents their lists anew; the workspaces that have not answered."""
        ...


class Endings:
    """Ends what was opened with an access that ends; `serve` asks the agents."""

    def __init__(
        self, *, store: Store, openings: Openings, links: Links, holders: KeyHolders
    ) -> None:
        self._store = store
        self._holders = holders
        self._openings = openings
        self._links = links
        self._users: set[UserId] = set()
        self._changed = trio.Event()

    def end(self, user_id: UserId, token_ids: Collection[str] | None = None) -> None:
        """A user's access has ended, or only what some of their tokens opened.

        Called once that is in the database.
        """
        self._openings.end(user_id, token_ids)
        self._users.add(user_id)
        self._changed.set()

    async def end_keys(self, user_id: UserId) -> None:
        """A user's registered keys have ended; waits for the agents, a bounded time."""
        await self._holders.tell(user_id)

    async def serve(self) -> Never:
        """Ask the agents of users whose access has ended, until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                await self._changed.wait()
                self._changed = trio.Event()
                users = frozenset(self._users)
                try:
                    agents = await self._store.read(agents_of_owners, users)
                except StoreError as error:
                    log.warning("endings_not_carried", reason=error.message)
                    self._changed.set()
                    await trio.sleep(_RETRY_S)
                    continue
                self._users -= users
                for agent_id in agents:
                    nursery.start_soon(self._links.ask_grants, agent_id)

    async def ended(self, grants: Sequence[str]) -> tuple[str, ...]:
        """The grants, among some, that hold no more. Raises StoreError."""
        known = {grant: decode_grant(grant) for grant in grants}
        users = {grant.user_id for grant in known.values() if grant is not None}
        tokens = {grant.token_id for grant in known.values() if grant is not None}
        now = await self._store.read(holding, users, tokens)
        return tuple(text for text, grant in known.items() if grant is None or not now.holds(grant))
