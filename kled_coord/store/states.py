"""Queries: Terraform state, every version kept, and its lock."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime

from sqlalchemy import Connection, delete, func, insert, select

from kled_coord.store.records import StateLock, StateRecord
from kled_coord.store.schema import builds, state_locks, states, users, workspaces


def newest_state(connection: Connection, workspace_id: str) -> tuple[int, bytes | None] | None:
    """Version and sealed content (None: deleted by Terraform) of the newest state."""
    row = connection.execute(
        select(states.c.version, states.c.content_sealed)
        .where(states.c.workspace_id == workspace_id)
        .order_by(states.c.version.desc())
        .limit(1)
    ).first()
    return None if row is None else (row.version, row.content_sealed)


def state_version(connection: Connection, workspace_id: str, version: int) -> bytes | None:
    """The sealed content of one version; None where it is not kept, or says there was none."""
    this = states.c.workspace_id == workspace_id, states.c.version == version
    return connection.execute(select(states.c.content_sealed).where(*this)).scalar()


def list_states(connection: Connection, workspace_id: str) -> list[StateRecord]:
    """The versions that are kept of a state, the newest first, without their content."""
    rows = connection.execute(
        select(
            states.c.version,
            states.c.created_at,
            builds.c.number.label("build"),
            users.c.name.label("created_by"),
            states.c.pushed_by.is_not(None).label("is_pushed"),
            func.length(states.c.content_sealed).label("size_bytes"),
        )
        .outerjoin(builds, builds.c.id == states.c.build_id)
        .outerjoin(users, users.c.id == func.coalesce(states.c.pushed_by, builds.c.created_by))
        .where(states.c.workspace_id == workspace_id)
        .order_by(states.c.version.desc())
    )
    return [StateRecord(**row._asdict()) for row in rows]


def next_state_version(connection: Connection, workspace_id: str) -> int:
    """The version the next write gets; holds the workspace's row until the transaction ends."""
    lock_workspace(connection, workspace_id)
    newest = connection.execute(
        select(func.coalesce(func.max(states.c.version), 0)).where(
            states.c.workspace_id == workspace_id
        )
    ).scalar_one()
    return int(newest) + 1


def insert_state(
    connection: Connection,
    *,
    workspace_id: str,
    version: int,
    build_id: str,
    content_sealed: bytes | None,
    now: datetime,
    pushed_by: str | None = None,
) -> None:
    """Append a version; `build_id` is "" where a user has pushed it."""
    connection.execute(
        insert(states).values(
            workspace_id=workspace_id,
            version=version,
            build_id=build_id,
            content_sealed=content_sealed,
            pushed_by=pushed_by,
            created_at=now,
        )
    )


def state_lock(connection: Connection, workspace_id: str) -> StateLock | None:
    """Who holds the state's lock."""
    row = connection.execute(
        select(state_locks).where(state_locks.c.workspace_id == workspace_id)
    ).first()
    return None if row is None else StateLock(**row._asdict())


def take_state_lock(connection: Connection, lock: StateLock) -> StateLock | None:
    """Take the lock unless somebody holds it; returns the holder then, or None when taken."""
    lock_workspace(connection, lock.workspace_id)
    holder = state_lock(connection, lock.workspace_id)
    if holder is not None:
        return holder
    connection.execute(insert(state_locks).values(**asdict(lock)))
    return None


def drop_state_lock(connection: Connection, workspace_id: str) -> None:
    """Release the lock, whoever holds it."""
    connection.execute(delete(state_locks).where(state_locks.c.workspace_id == workspace_id))


def drop_build_lock(connection: Connection, build_id: str) -> None:
    """Release the lock a build holds, because its run is over."""
    connection.execute(delete(state_locks).where(state_locks.c.build_id == build_id))


def lock_workspace(connection: Connection, workspace_id: str) -> None:
    """Hold the workspace's row, so that what follows is alone (PostgreSQL; SQLite is anyway)."""
    connection.execute(
        select(workspaces.c.id).where(workspaces.c.id == workspace_id).with_for_update()
    )
