"""Sessions: a record of every stream that was opened to a workspace."""

from __future__ import annotations

from dataclasses import replace
from typing import NewType

from kled_coord.identity.audit import Audit
from kled_coord.policy.actions import Action, ActionTarget
from kled_coord.policy.decide import Caller, decide
from kled_coord.sources import Clock, Ids
from kled_coord.store.engine import Store
from kled_coord.store.filters import SessionFilter
from kled_coord.store.records import SessionRow
from kled_coord.store.sessions import (
    close_forgotten_sessions,
    close_session,
    find_sessions,
    insert_session,
)

SessionId = NewType("SessionId", str)


class Sessions:
    """Writes and reads the record of streams (sessions)."""

    def __init__(self, *, store: Store, clock: Clock, ids: Ids, audit: Audit) -> None:
        self._audit = audit
        self._store = store
        self._clock = clock
        self._ids = ids

    async def opened(
        self, *, workspace_id: str, user_id: str, kind: str, client_address: str
    ) -> SessionId:
        """A stream was opened. Raises StoreError."""
        session_id = SessionId(self._ids.new("ses"))
        await self._store.write(
            insert_session,
            session_id=session_id,
            workspace_id=workspace_id,
            user_id=user_id,
            kind=kind,
            client_address=client_address[:80],
            now=self._clock(),
        )
        return session_id

    async def closed(
        self, session_id: SessionId, *, bytes_to_agent: int, bytes_to_client: int, reason: str
    ) -> None:
        """A stream ended. Raises StoreError."""
        await self._store.write(
            close_session,
            session_id=session_id,
            bytes_to_agent=bytes_to_agent,
            bytes_to_client=bytes_to_client,
            reason=reason[:200],
            now=self._clock(),
        )

    async def newest(self, caller: Caller, wanted: SessionFilter, limit: int) -> list[SessionRow]:
        """The newest that fit, of those that the caller may see: at least their own.

        Raises ForbiddenError, StoreError.
        """
        everybodys = ActionTarget(kind="connection")
        if not decide(caller, Action.CONNECTION_READ, everybodys).allowed:
            own = replace(everybodys, owner_id=caller.user_id)
            await self._audit.require(caller, Action.CONNECTION_READ, own)
            wanted = replace(wanted, user_id=caller.user_id)
        return await self._store.read(find_sessions, wanted, limit)

    async def close_forgotten(self) -> int:
        """Close what a coordinator that died left open; returns how many."""
        return await self._store.write(
            close_forgotten_sessions, "coordinator_restarted", self._clock()
        )
