"""Queries: sessions, one row per opened stream."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ColumnElement, Connection, insert, not_, select, update

from kled_coord.store.filters import SessionFilter
from kled_coord.store.records import SessionRow
from kled_coord.store.schema import sessions, users, workspaces


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


def find_sessions(connection: Connection, wanted: SessionFilter, limit: int) -> list[SessionRow]:
    """The newest `limit` sessions that fit, the newest first."""
    owners = users.alias("owners")
    query = (
        select(
            sessions,
            workspaces.c.name.label("workspace"),
            owners.c.name.label("owner"),
            users.c.name.label("user_name"),
        )
        .select_from(
            sessions.outerjoin(workspaces, workspaces.c.id == sessions.c.workspace_id)
            .outerjoin(owners, owners.c.id == workspaces.c.owner_id)
            .outerjoin(users, users.c.id == sessions.c.user_id)
        )
        .order_by(sessions.c.opened_at.desc(), sessions.c.id)
        .limit(limit)
    )
    named: list[tuple[ColumnElement[str], str | None]] = [
        (sessions.c.user_id, wanted.user_id),
        (users.c.name, wanted.user),
        (sessions.c.kind, wanted.kind),
    ]
    if (ref := wanted.workspace) is not None:
        named += [
            (sessions.c.workspace_id, ref.id),
            (workspaces.c.name, ref.name),
            (owners.c.name, ref.owner),
        ]
    query = query.where(*(column == value for column, value in named if value is not None))
    if wanted.open is not None:
        is_open = sessions.c.closed_at.is_(None)
        query = query.where(is_open if wanted.open else not_(is_open))
    if wanted.since is not None:
        query = query.where(sessions.c.opened_at >= wanted.since)
    if wanted.until is not None:
        query = query.where(sessions.c.opened_at < wanted.until)
    return [SessionRow(**row._asdict()) for row in connection.execute(query)]


def close_forgotten_sessions(connection: Connection, reason: str, now: datetime) -> int:
    """Close the sessions that a coordinator which died left open; returns how many."""
    closed = connection.execute(
        update(sessions).where(sessions.c.closed_at.is_(None)).values(closed_at=now, reason=reason)
    )
    return closed.rowcount
