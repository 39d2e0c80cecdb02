"""Queries: templates and their versions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, update

from kled_coord.store.records import Template, TemplateVersion, Variable
from kled_coord.store.schema import builds, template_versions, templates, users, workspaces
from kled_wire.errors import NotFoundError
from kled_wire.names import WorkspaceId

_ACTIVE = template_versions.alias("active")
_TEMPLATES = select(
    templates.c.id,
    templates.c.name,
    templates.c.description,
    templates.c.active_version_id,
    func.coalesce(_ACTIVE.c.number, 0).label("active_version"),
    templates.c.check_deadline_s,
    templates.c.build_quiet_s,
    templates.c.created_at,
    templates.c.updated_at,
).select_from(templates.outerjoin(_ACTIVE, _ACTIVE.c.id == templates.c.active_version_id))
_VERSIONS = select(
    template_versions.c.id,
    template_versions.c.template_id,
    templates.c.name.label("template"),
    template_versions.c.number,
    template_versions.c.message,
    template_versions.c.variables,
    template_versions.c.created_at,
    users.c.name.label("created_by"),
).select_from(
    template_versions.join(templates, templates.c.id == template_versions.c.template_id).join(
        users, users.c.id == template_versions.c.created_by
    )
)
_ALIVE = templates.c.deleted_at.is_(None)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewVersion:
    """A version to add."""

    id: str
    message: str
    archive: bytes = field(repr=False)
    variables: Sequence[Variable]
    user_id: str
    created_at: datetime


# Given the workspace's id, and the two columns; returns the two columns.
RewriteParameters = Callable[
    [WorkspaceId, dict[str, str | None], bytes | None],
    tuple[dict[str, str | None], bytes | None],
]


def list_templates(connection: Connection) -> list[Template]:
    """All templates, by name."""
    rows = connection.execute(_TEMPLATES.where(_ALIVE).order_by(templates.c.name))
    return [Template(**row._asdict()) for row in rows]


def template_by_name(connection: Connection, name: str) -> Template | None:
    """The template of that name, unless deleted."""
    row = connection.execute(_TEMPLATES.where(_ALIVE, templates.c.name == name)).first()
    return None if row is None else Template(**row._asdict())


def hold_template(connection: Connection, template_id: str, name: str) -> None:
    """Keep a template from being deleted until the transaction ends. Raises NotFoundError."""
    query = select(templates.c.id).where(_ALIVE, templates.c.id == template_id)
    if connection.execute(query.with_for_update(read=True)).first() is None:
        raise template_not_found(name)


def template_not_found(name: str) -> NotFoundError:
    """What is said of a template that is not there."""
    return NotFoundError(
        "template_not_found", f"there is no template {name[:40]}", hint="kled template list"
    )


def add_version(
    connection: Connection,
    *,
    name: str,
    new_template_id: str,
    version: NewVersion,
    deadlines: Mapping[str, int | None],
) -> TemplateVersion:
    """Add a version, and the template when it is new, and make the version active.

    `deadlines` are those to change, by column.

    Raises DuplicateError when another of that name was made at the same time.
    """
    # Held, so that it is not deleted meanwhile, nor two pushes take one number.
    query = select(templates.c.id).where(_ALIVE, templates.c.name == name)
    template_id = connection.execute(query.with_for_update()).scalar()
    if template_id is None:
        template_id = new_template_id
        connection.execute(
            insert(templates).values(
                id=template_id,
                name=name,
                created_at=version.created_at,
                updated_at=version.created_at,
            )
        )
    connection.execute(
        update(templates)
        .where(templates.c.id == template_id)
        .values(active_version_id=version.id, updated_at=version.created_at, **deadlines)
    )
    connection.execute(
        insert(template_versions).values(
            id=version.id,
            template_id=template_id,
            number=_newest_number(connection, template_id) + 1,
            message=version.message,
            archive=version.archive,
            variables=[asdict(variable) for variable in version.variables],
            created_at=version.created_at,
            created_by=version.user_id,
        )
    )
    return version_by_id(connection, version.id)


def set_deadlines(
    connection: Connection, name: str, deadlines: Mapping[str, int | None], now: datetime
) -> Template:
    """Change deadlines of a template, by column. Raises NotFoundError."""
    connection.execute(
        update(templates)
        .where(_ALIVE, templates.c.name == name)
        .values(updated_at=now, **deadlines)
    )
    changed = template_by_name(connection, name)
    if changed is None:
        raise template_not_found(name)
    return changed


def build_quiet_of(connection: Connection, template_id: str) -> int | None:
    """How long a build of a template may show no progress; None where the setting counts."""
    query = select(templates.c.build_quiet_s).where(templates.c.id == template_id)
    quiet_s: int | None = connection.execute(query).scalar_one()
    return quiet_s


def list_versions(connection: Connection, template_id: str) -> list[TemplateVersion]:
    """A template's versions, the newest first."""
    rows = connection.execute(
        _VERSIONS.where(template_versions.c.template_id == template_id).order_by(
            template_versions.c.number.desc()
        )
    )
    return [_version(row) for row in rows]


def version_by_id(connection: Connection, version_id: str) -> TemplateVersion:
    """The version of that id, which exists."""
    return _version(connection.execute(_VERSIONS.where(template_versions.c.id == version_id)).one())


def version_by_number(
    connection: Connection, template_id: str, number: int
) -> TemplateVersion | None:
    """One version of a template."""
    row = connection.execute(
        _VERSIONS.where(
            template_versions.c.template_id == template_id, template_versions.c.number == number
        )
    ).first()
    return None if row is None else _version(row)


def unread_versions(connection: Connection) -> list[str]:
    """Ids of the versions whose variables were never listed."""
    return list(
        connection.execute(
            select(template_versions.c.id).where(template_versions.c.variables.is_(None))
        ).scalars()
    )


def set_variables(connection: Connection, version_id: str, variables: Sequence[Variable]) -> None:
    """Keep what a version declares."""
    connection.execute(
        update(template_versions)
        .where(template_versions.c.id == version_id)
        .values(variables=[asdict(variable) for variable in variables])
    )


def set_archive(connection: Connection, version_id: str, archive: bytes) -> None:
    """Keep a version's files in another form."""
    connection.execute(
        update(template_versions)
        .where(template_versions.c.id == version_id)
        .values(archive=archive)
    )


def rewrite_parameters(connection: Connection, version_id: str, rewrite: RewriteParameters) -> None:
    """Write again the parameters of the workspaces and builds of a version."""
    for table, workspace_id in ((workspaces, workspaces.c.id), (builds, builds.c.workspace_id)):
        rows = connection.execute(
            select(
                table.c.id,
                workspace_id.label("workspace"),
                table.c.parameters,
                table.c.secrets_sealed,
            ).where(table.c.version_id == version_id)
        ).all()
        for row in rows:
            shown, sealed = rewrite(row.workspace, row.parameters, row.secrets_sealed)
            connection.execute(
                update(table)
                .where(table.c.id == row.id)
                .values(parameters=shown, secrets_sealed=sealed)
            )


def version_archive(connection: Connection, version_id: str) -> bytes:
    """The uploaded archive of a version."""
    archive = connection.execute(
        select(template_versions.c.archive).where(template_versions.c.id == version_id)
    ).scalar_one()
    return bytes(archive)


def delete_template(connection: Connection, template_id: str, now: datetime) -> int:
    """Delete a template that no workspace uses; returns how many do.

    Its versions stay for the record and the name is free again.
    """
    # Held against workspaces that are being made of it.
    connection.execute(
        select(templates.c.id).where(templates.c.id == template_id).with_for_update()
    )
    found = connection.execute(
        select(func.count()).where(
            workspaces.c.template_id == template_id, workspaces.c.deleted_at.is_(None)
        )
    )
    users = int(found.scalar_one())
    if not users:
        connection.execute(
            update(templates).where(templates.c.id == template_id).values(deleted_at=now)
        )
    return users


def _version(row: Row[*tuple[Any, ...]]) -> TemplateVersion:
    values = row._asdict()
    variables = tuple(Variable(**each) for each in values.pop("variables") or ())
    return TemplateVersion(**values, variables=variables)


def _newest_number(connection: Connection, template_id: str) -> int:
    newest = connection.execute(
        select(func.coalesce(func.max(template_versions.c.number), 0)).where(
            template_versions.c.template_id == template_id
        )
    )
    return int(newest.scalar_one())
