"""Sessions: a record of every stream that was opened to a workspace."""

from __future__ import annotations

from typing import NewType

from kled_coord.sources import Clock, Ids
from kled_coord.store.engine import Store
from kled_coord.store.sessions import close_forgotten_sessions, close_session, insert_session

SessionId = NewType("SessionId", str)


class Sessions:
    """Writes the record."""

    def __init__(self, *, store: Store, clock: Clock, ids: Ids) -> None:
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

    async def close_forgotten(self) -> int:
        """Close what a coordinator that died left open; returns how many."""
        return await self._store.write(
            close_forgotten_sessions, "coordinator_restarted", self._clock()
        )
