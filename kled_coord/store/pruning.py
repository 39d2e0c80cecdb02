"""Queries: delete old rows, a few at a time, so that no other transaction waits for long."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, delete, exists, func, or_, select

from kled_coord.store.schema import build_logs, builds, script_runs, states
from kled_coord.store.scripts import drop_script_runs


def prune_logs(connection: Connection, before: datetime, limit: int) -> int:
    """Drop the logs of up to `limit` builds that ended before then, those of scripts too.

    Returns of how many.
    """
    old = connection.execute(
        select(builds.c.id)
        .where(
            builds.c.finished_at < before,
            or_(
                exists().where(build_logs.c.build_id == builds.c.id),
                exists().where(script_runs.c.build_id == builds.c.id),
            ),
        )
        .limit(limit)
    ).scalars()
    ids = list(old)
    if ids:
        connection.execute(delete(build_logs).where(build_logs.c.build_id.in_(ids)))
        drop_script_runs(connection, ids)
    return len(ids)


def prune_states(connection: Connection, keep: int, limit: int) -> int:
    """Drop all but the newest `keep` (at least 1) versions of up to `limit` workspaces' state.

    Returns how many workspaces had more.
    """
    rows = connection.execute(
        select(states.c.workspace_id, func.max(states.c.version).label("newest"))
        .group_by(states.c.workspace_id)
        .having(func.count() > max(keep, 1))
        .limit(limit)
    ).all()
    for row in rows:
        # Versions are counted without gaps.
        connection.execute(
            delete(states).where(
                states.c.workspace_id == row.workspace_id,
                states.c.version <= row.newest - max(keep, 1),
            )
        )
    return len(rows)
