"""Queries: sessions, one row per opened stream."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, insert, update

from kled_coord.store.schema import sessions


def insert_session(
    connection: Connection,
    *,
    session_id: str,
    workspace_id: str,
    user_id: str,
    kind: str,
    client_address: str,
    now: datetime,
) -> None:
    """Add a session that has just begun."""
    connection.execute(
        insert(sessions).values(
            id=session_id,
            workspace_id=workspace_id,
            user_id=user_id,
            kind=kind,
            client_address=client_address,
            opened_at=now,
        )
    )


def close_session(
    connection: Connection,
    *,
    session_id: str,
    bytes_to_agent: int,
    bytes_to_client: int,
    reason: str,
    now: datetime,
) -> None:
    """Write how a session ended."""
    connection.execute(
        update(sessions)
        .where(sessions.c.id == session_id)
        .values(
            closed_at=now,
            bytes_to_agent=bytes_to_agent,
            bytes_to_client=bytes_to_client,
            reason=reason,
        )
    )


def close_forgotten_sessions(connection: Connection, reason: str, now: datetime) -> int:
    """Close the sessions that a coordinator which died left open; returns how many."""
    closed = connection.execute(
        update(sessions).where(sessions.c.closed_at.is_(None)).values(closed_at=now, reason=reason)
    )
    return closed.rowcount
