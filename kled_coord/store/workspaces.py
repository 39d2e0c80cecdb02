"""Queries: workspaces, with the names of their owner and template."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    func,
    insert,
    not_,
    or_,
    select,
    update,
)

from kled_coord.store.filters import WorkspaceSearch
from kled_coord.store.records import Workspace
from kled_coord.store.schema import sessions, template_versions, templates, users, workspaces

_WORKSPACES = select(
    workspaces.c.id,
    workspaces.c.name,
    workspaces.c.owner_id,
    users.c.name.label("owner_name"),
    workspaces.c.template_id,
    templates.c.name.label("template"),
    workspaces.c.version_id,
    template_versions.c.number.label("template_version"),
    template_versions.c.name.label("template_version_name"),
    workspaces.c.status,
    workspaces.c.parameters,
    workspaces.c.outputs,
    workspaces.c.created_at,
    workspaces.c.updated_at,
    workspaces.c.last_used_at,
).select_from(
    workspaces.join(users, users.c.id == workspaces.c.owner_id)
    .join(templates, templates.c.id == workspaces.c.template_id)
    .join(template_versions, template_versions.c.id == workspaces.c.version_id)
)
# What a list may be sorted by.
SORTS: Final[Mapping[str, ColumnElement[Any]]] = {
    "owner": users.c.name,
    "name": workspaces.c.name,
    "template": templates.c.name,
    "status": workspaces.c.status,
    "created": workspaces.c.created_at,
    "used": workspaces.c.last_used_at,
}
_ALIVE = workspaces.c.deleted_at.is_(None)


def insert_workspace(
    connection: Connection, workspace: Workspace, secrets_sealed: bytes | None
) -> None:
    """Add a workspace. Raises DuplicateError when its owner has one of that name."""
    connection.execute(
        insert(workspaces).values(
            id=workspace.id,
            name=workspace.name,
            owner_id=workspace.owner_id,
            template_id=workspace.template_id,
            version_id=workspace.version_id,
            status=workspace.status,
            parameters=dict(workspace.parameters),
            secrets_sealed=secrets_sealed,
            created_at=workspace.created_at,
            updated_at=workspace.updated_at,
        )
    )


def workspace_by_id(connection: Connection, workspace_id: str) -> Workspace | None:
    """The workspace of that id, deleted or not: builds of deleted ones are still read."""
    row = connection.execute(_WORKSPACES.where(workspaces.c.id == workspace_id)).first()
    return None if row is None else Workspace(**row._asdict())


def workspace_by_name(connection: Connection, owner: str, name: str) -> Workspace | None:
    """A user's workspace of that name, unless deleted; `owner` is a user's name."""
    row = connection.execute(
        _WORKSPACES.where(
            users.c.name == owner,
            users.c.deleted_at.is_(None),
            workspaces.c.name == name,
            _ALIVE,
        )
    ).first()
    return None if row is None else Workspace(**row._asdict())


def find_workspaces(
    connection: Connection,
    search: WorkspaceSearch,
    *,
    owner_ids: Collection[str] | None,
    sort: str,
) -> list[Workspace]:
    """Workspaces that are not deleted, of these owners alone (None: of all).

    `sort` is one of SORTS, descending behind a `-`; what is equal in it is by owner and name.
    """
    query = _WORKSPACES.where(_ALIVE, *_conditions(search))
    if owner_ids is not None:
        query = query.where(workspaces.c.owner_id.in_(owner_ids))
    column = SORTS[sort.removeprefix("-")]
    order = column.desc() if sort.startswith("-") else column.asc()
    # Without a value they come last both ways, in both databases.
    query = query.order_by(column.is_(None), order, users.c.name, workspaces.c.name)
    return [Workspace(**row._asdict()) for row in connection.execute(query)]


def unused_workspaces(connection: Connection, now: datetime) -> list[Workspace]:
    """The workspaces that run and were not used for longer than their template gives them.

    Use is what ended last of builds and streams; while a stream is open it goes on.
    """
    query = _WORKSPACES.add_columns(templates.c.stop_after_s).where(
        _ALIVE, workspaces.c.status == "running", templates.c.stop_after_s.is_not(None)
    )
    due: dict[str, tuple[Workspace, timedelta]] = {}
    for row in connection.execute(query):
        values = row._asdict()
        given = timedelta(seconds=values.pop("stop_after_s"))
        if max(filter(None, (row.last_used_at, row.updated_at))) + given <= now:
            due[row.id] = Workspace(**values), given
    # Only of those: this is asked every few seconds, and sessions are many.
    used = {
        row.workspace_id
        for row in connection.execute(_streams_of(due))
        if row.is_open or row.ended_at + due[row.workspace_id][1] > now
    }
    return [workspace for workspace, _ in due.values() if workspace.id not in used]


def _streams_of(workspace_ids: Collection[str]) -> Select[Any]:
    """Whether each workspace that has had streams has an open one, and when the last one ended."""
    columns = sessions.c
    is_open = func.count() > func.count(columns.closed_at)
    return (
        select(
            columns.workspace_id,
            is_open.label("is_open"),
            func.max(columns.closed_at).label("ended_at"),
        )
        .where(columns.workspace_id.in_(workspace_ids))
        .group_by(columns.workspace_id)
    )


def _conditions(search: WorkspaceSearch) -> Iterator[ColumnElement[bool]]:
    exact = (
        (users.c.name, search.owners),
        (workspaces.c.name, search.names),
        (templates.c.name, search.templates),
        (workspaces.c.status, search.statuses),
    )
    yield from (column.in_(wanted) for column, wanted in exact if wanted)
    for word in search.words:
        names = (workspaces.c.name, users.c.name, templates.c.name)
        yield or_(*(func.lower(name).contains(word.lower(), autoescape=True) for name in names))
    if search.outdated is not None:
        is_newest = workspaces.c.version_id == templates.c.active_version_id
        yield not_(is_newest) if search.outdated else is_newest


def set_workspace_status(
    connection: Connection, workspace_id: str, status: str, now: datetime
) -> None:
    """Write the status; "deleted" also frees the name, and forgets what was sensitive."""
    values: dict[str, Any] = {"status": status, "updated_at": now}
    if status == "deleted":
        values |= {"deleted_at": now, "secrets_sealed": None}
    connection.execute(update(workspaces).where(workspaces.c.id == workspace_id).values(**values))


def set_workspace_outputs(
    connection: Connection, workspace_id: str, outputs: dict[str, Any]
) -> None:
    """Write what the template gave out last."""
    connection.execute(
        update(workspaces).where(workspaces.c.id == workspace_id).values(outputs=outputs)
    )


def workspace_secrets(connection: Connection, workspace_id: str) -> bytes | None:
    """The sealed values of a workspace's sensitive parameters."""
    row = connection.execute(
        select(workspaces.c.secrets_sealed).where(workspaces.c.id == workspace_id)
    ).one()
    return row.secrets_sealed and bytes(row.secrets_sealed)


def set_workspace_applied(
    connection: Connection,
    workspace_id: str,
    *,
    version_id: str,
    parameters: Mapping[str, str | None],
    secrets_sealed: bytes | None,
) -> None:
    """Remember the version and the parameters that were applied last."""
    connection.execute(
        update(workspaces)
        .where(workspaces.c.id == workspace_id)
        .values(version_id=version_id, parameters=dict(parameters), secrets_sealed=secrets_sealed)
    )


def mark_workspace_used(connection: Connection, workspace_id: str, now: datetime) -> None:
    """Remember when somebody last used a workspace."""
    connection.execute(
        update(workspaces).where(workspaces.c.id == workspace_id).values(last_used_at=now)
    )
