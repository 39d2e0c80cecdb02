"""Queries: the queue of builds, and their logs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, bindparam, func, insert, or_, select, update

from kled_coord.store.queue_order import RUNNING, WAITING, places
from kled_coord.store.records import Build, LogLine
from kled_coord.store.schema import build_logs, builds, template_versions, users, workspaces

_NOT_READ = {
    "secret_hash",
    "secrets_sealed",
    "then_secrets_sealed",
    "created_by",
    "notes",
    "timings",
}
_COLUMNS = (
    *(column for column in builds.c if column.name not in _NOT_READ),
    users.c.name.label("created_by"),
    template_versions.c.number.label("version"),
    places.c.position.label("queue_position"),
)
_BUILDS = select(*_COLUMNS).select_from(
    builds.join(users, users.c.id == builds.c.created_by)
    .join(template_versions, template_versions.c.id == builds.c.version_id)
    .outerjoin(places, places.c.id == builds.c.id)
)
_NEWEST = (
    select(builds.c.workspace_id, func.max(builds.c.number).label("number"))
    .where(builds.c.workspace_id.in_(bindparam("workspace_ids", expanding=True)))
    .group_by(builds.c.workspace_id)
    .subquery()
)
# Made once: each agent that connects has it read, and making it takes longer than that.
_LATEST_BUILDS = _BUILDS.join(
    _NEWEST,
    (_NEWEST.c.workspace_id == builds.c.workspace_id) & (_NEWEST.c.number == builds.c.number),
)
_KEPT_FOR_RETRY = and_(
    builds.c.finished_at.is_not(None),
    or_(builds.c.secrets_sealed.is_not(None), builds.c.then_secrets_sealed.is_not(None)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewBuild:
    """A build to queue; `then` is the start that follows a restart's stop."""

    id: str
    workspace_id: str
    transition: str
    version_id: str
    parameters: Mapping[str, str | None]
    secrets_sealed: bytes | None = field(repr=False)
    ephemeral: Sequence[str] = ()
    orphan: bool = False
    user_id: str
    queued_at: datetime
    then: NewBuild | None = None


def insert_build(connection: Connection, build: NewBuild) -> Build:
    """Queue a build. Raises DuplicateError when the workspace has an active one.

    Those before it can no longer be retried: their sensitive values go.
    """
    connection.execute(
        update(builds)
        .where(builds.c.workspace_id == build.workspace_id, _KEPT_FOR_RETRY)
        .values(secrets_sealed=None, then_secrets_sealed=None)
    )
    number = connection.execute(
        select(func.coalesce(func.max(builds.c.number), 0) + 1).where(
            builds.c.workspace_id == build.workspace_id
        )
    ).scalar_one()
    connection.execute(
        insert(builds).values(
            id=build.id,
            workspace_id=build.workspace_id,
            number=number,
            transition=build.transition,
            status="pending",
            version_id=build.version_id,
            parameters=dict(build.parameters),
            secrets_sealed=build.secrets_sealed,
            ephemeral=list(build.ephemeral) or None,
            orphan=build.orphan,
            then_start=None if build.then is None else _following(build.then),
            then_secrets_sealed=None if build.then is None else build.then.secrets_sealed,
            created_by=build.user_id,
            queued_at=build.queued_at,
        )
    )
    return _one(connection, builds.c.id == build.id)


def _following(start: NewBuild) -> dict[str, Any]:
    """A start as the stop before it keeps it, without its sensitive values."""
    return {
        "id": start.id,
        "version_id": start.version_id,
        "parameters": dict(start.parameters),
        "ephemeral": list(start.ephemeral),
    }


def following_start(connection: Connection, stop: Build, now: datetime) -> NewBuild | None:
    """The start that follows a restart's stop, if that is one."""
    if stop.then_start is None:
        return None
    row = connection.execute(
        select(builds.c.then_secrets_sealed, builds.c.created_by).where(builds.c.id == stop.id)
    ).one()
    return NewBuild(
        **stop.then_start,
        workspace_id=stop.workspace_id,
        transition="start",
        secrets_sealed=row.then_secrets_sealed and bytes(row.then_secrets_sealed),
        user_id=row.created_by,
        queued_at=now,
    )


def build_by_id(connection: Connection, build_id: str) -> Build | None:
    """The build of that id."""
    row = connection.execute(_BUILDS.where(builds.c.id == build_id)).first()
    return None if row is None else Build(**row._asdict())


def build_secrets(connection: Connection, build_id: str) -> bytes | None:
    """The sealed values of a build's sensitive parameters, until the build is over."""
    row = connection.execute(select(builds.c.secrets_sealed).where(builds.c.id == build_id)).one()
    return row.secrets_sealed and bytes(row.secrets_sealed)


def build_notes(connection: Connection, build_id: str) -> list[dict[str, Any]]:
    """What a build's template notes on its resources, as the build has applied them."""
    row = connection.execute(select(builds.c.notes).where(builds.c.id == build_id)).first()
    return (row and row.notes) or []


def workspace_notes(connection: Connection, workspace_id: str) -> list[dict[str, Any]]:
    """The notes of a workspace's last build that succeeded."""
    succeeded = select(builds.c.notes).where(
        builds.c.workspace_id == workspace_id, builds.c.status == "succeeded"
    )
    row = connection.execute(succeeded.order_by(builds.c.number.desc()).limit(1)).first()
    return (row and row.notes) or []


def build_by_number(connection: Connection, workspace_id: str, number: int) -> Build | None:
    """A workspace's build of that number."""
    row = connection.execute(
        _BUILDS.where(builds.c.workspace_id == workspace_id, builds.c.number == number)
    ).first()
    return None if row is None else Build(**row._asdict())


def newest_start(
    connection: Connection, workspace_id: str, before: int | None = None
) -> Build | None:
    """A workspace's newest build that starts it; of those before the build of that number."""
    starts = _BUILDS.where(builds.c.workspace_id == workspace_id, builds.c.transition == "start")
    if before is not None:
        starts = starts.where(builds.c.number < before)
    row = connection.execute(starts.order_by(builds.c.number.desc())).first()
    return None if row is None else Build(**row._asdict())


def count_waiting_builds(connection: Connection, user_id: str) -> int:
    """How many builds that a user queued wait for their turn."""
    waiting = select(func.count()).where(builds.c.created_by == user_id, WAITING)
    return int(connection.execute(waiting).scalar_one())


def list_builds(connection: Connection, workspace_id: str) -> list[Build]:
    """A workspace's builds, the newest first."""
    rows = connection.execute(
        _BUILDS.where(builds.c.workspace_id == workspace_id).order_by(builds.c.number.desc())
    )
    return [Build(**row._asdict()) for row in rows]


def latest_builds(connection: Connection, workspace_ids: Collection[str]) -> list[Build]:
    """The newest build of each of some workspaces."""
    rows = connection.execute(_LATEST_BUILDS, {"workspace_ids": list(workspace_ids)})
    return [Build(**row._asdict()) for row in rows]


def next_pending(connection: Connection) -> Build | None:
    """The next build to run, held against other workers until the transaction ends."""
    row = connection.execute(
        select(builds.c.id)
        .join(workspaces, workspaces.c.id == builds.c.workspace_id)
        .join(places, places.c.id == builds.c.id)
        .where(WAITING)
        .order_by(places.c.position)
        .limit(1)
        .with_for_update(skip_locked=True, of=[builds, workspaces])
    ).first()
    return None if row is None else _one(connection, builds.c.id == row.id)


def held_build(connection: Connection, build_id: str) -> Build | None:
    """A build, held against other writers until the transaction ends."""
    connection.execute(select(builds.c.id).where(builds.c.id == build_id).with_for_update())
    return build_by_id(connection, build_id)


def running_builds(connection: Connection) -> list[Build]:
    """Builds that a worker has."""
    rows = connection.execute(_BUILDS.where(RUNNING))
    return [Build(**row._asdict()) for row in rows]


def update_build(connection: Connection, build_id: str, values: dict[str, Any]) -> None:
    """Write some columns, by name."""
    connection.execute(update(builds).where(builds.c.id == build_id).values(**values))


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewedLease:
    """A build whose lease was renewed: its status, and whether it is to stop by force."""

    status: str
    forced: bool


def renew_lease(connection: Connection, build_id: str, worker: str) -> RenewedLease | None:
    """Keep a running build; None when the worker lost it."""
    kept = connection.execute(
        update(builds)
        .where(builds.c.id == build_id, builds.c.worker == worker, RUNNING)
        .values(lease=builds.c.lease + 1)
        .returning(builds.c.status, builds.c.forced)
    ).one_or_none()
    return None if kept is None else RenewedLease(status=kept.status, forced=kept.forced)


def build_secret(connection: Connection, build_id: str) -> tuple[str, bytes] | None:
    """Workspace id and secret hash of a build that is running now."""
    row = connection.execute(
        select(builds.c.workspace_id, builds.c.secret_hash).where(
            builds.c.id == build_id, RUNNING, builds.c.secret_hash.is_not(None)
        )
    ).first()
    return None if row is None else (row.workspace_id, bytes(row.secret_hash))


def append_log(connection: Connection, build_id: str, lines: Sequence[LogLine]) -> None:
    """Append lines whose `seq` the caller has counted."""
    if lines:
        connection.execute(
            insert(build_logs), [{"build_id": build_id, **asdict(line)} for line in lines]
        )


def last_log_seq(connection: Connection, build_id: str) -> int:
    """The number of the last line, 0 when there is none."""
    found = connection.execute(
        select(func.coalesce(func.max(build_logs.c.seq), 0)).where(
            build_logs.c.build_id == build_id
        )
    )
    return int(found.scalar_one())


def log_after(connection: Connection, build_id: str, seq: int, limit: int) -> list[LogLine]:
    """Up to `limit` lines after number `seq`, in order."""
    rows = connection.execute(
        select(build_logs.c.seq, build_logs.c.at, build_logs.c.level, build_logs.c.text)
        .where(build_logs.c.build_id == build_id, build_logs.c.seq > seq)
        .order_by(build_logs.c.seq)
        .limit(limit)
    )
    return [LogLine(**row._asdict()) for row in rows]


def _one(connection: Connection, condition: ColumnElement[bool]) -> Build:
    return Build(**connection.execute(_BUILDS.where(condition)).one()._asdict())
