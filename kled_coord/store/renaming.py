"""Queries: the name of a workspace."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from sqlalchemy import Connection, exists, select, update

from kled_coord.store.builds import latest_builds
from kled_coord.store.records import Build, Workspace
from kled_coord.store.schema import workspaces
from kled_coord.store.states import lock_workspace
from kled_coord.store.workspaces import workspace_by_id


def rename_workspace(
    connection: Connection,
    workspace_id: str,
    name: str,
    check: Callable[[Workspace, Build | None], None],
    now: datetime,
) -> None:
    """Give a workspace another name, unless `check` of it and its newest build raises.

    Raises DuplicateError when its owner has one of that name.
    """
    lock_workspace(connection, workspace_id)
    workspace = workspace_by_id(connection, workspace_id)
    assert workspace is not None
    check(workspace, next(iter(latest_builds(connection, [workspace_id])), None))
    connection.execute(
        update(workspaces).where(workspaces.c.id == workspace_id).values(name=name, updated_at=now)
    )


def is_name_taken(connection: Connection, owner_id: str, name: str) -> bool:
    """Whether the owner has a workspace of that name."""
    this = workspaces.c.owner_id == owner_id, workspaces.c.name == name
    found = exists().where(*this, workspaces.c.deleted_at.is_(None))
    return bool(connection.execute(select(found)).scalar_one())
