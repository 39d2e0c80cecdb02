"""Queries: templates and their versions."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, func, insert, select, update

from kled_coord.store.records import Template, TemplateVersion
from kled_coord.store.schema import template_versions, templates, users, workspaces

_ACTIVE = template_versions.alias("active")
_TEMPLATES = select(
    templates.c.id,
    templates.c.name,
    templates.c.description,
    templates.c.active_version_id,
    func.coalesce(_ACTIVE.c.number, 0).label("active_version"),
    templates.c.created_at,
    templates.c.updated_at,
).select_from(templates.outerjoin(_ACTIVE, _ACTIVE.c.id == templates.c.active_version_id))
_VERSIONS = select(
    template_versions.c.id,
    template_versions.c.template_id,
    templates.c.name.label("template"),
    template_versions.c.number,
    template_versions.c.message,
    template_versions.c.created_at,
    users.c.name.label("created_by"),
).select_from(
    template_versions.join(templates, templates.c.id == template_versions.c.template_id).join(
        users, users.c.id == template_versions.c.created_by
    )
)
_ALIVE = templates.c.deleted_at.is_(None)


def list_templates(connection: Connection) -> list[Template]:
    """All templates, by name."""
    rows = connection.execute(_TEMPLATES.where(_ALIVE).order_by(templates.c.name))
    return [Template(**row._asdict()) for row in rows]


def template_by_name(connection: Connection, name: str) -> Template | None:
    """The template of that name, unless deleted."""
    row = connection.execute(_TEMPLATES.where(_ALIVE, templates.c.name == name)).first()
    return None if row is None else Template(**row._asdict())


def add_version(
    connection: Connection,
    *,
    name: str,
    new_template_id: str,
    version_id: str,
    message: str,
    archive: bytes,
    user_id: str,
    now: datetime,
) -> TemplateVersion:
    """Add a version, and the template when it is new, and make the version active."""
    template = template_by_name(connection, name)
    if template is None:
        template_id = new_template_id
        connection.execute(
            insert(templates).values(id=template_id, name=name, created_at=now, updated_at=now)
        )
    else:
        template_id = template.id
    # The update locks the template's row, so that two pushes cannot take one number.
    connection.execute(
        update(templates)
        .where(templates.c.id == template_id)
        .values(active_version_id=version_id, updated_at=now)
    )
    connection.execute(
        insert(template_versions).values(
            id=version_id,
            template_id=template_id,
            number=_newest_number(connection, template_id) + 1,
            message=message,
            archive=archive,
            created_at=now,
            created_by=user_id,
        )
    )
    row = connection.execute(_VERSIONS.where(template_versions.c.id == version_id)).one()
    return TemplateVersion(**row._asdict())


def list_versions(connection: Connection, template_id: str) -> list[TemplateVersion]:
    """A template's versions, the newest first."""
    rows = connection.execute(
        _VERSIONS.where(template_versions.c.template_id == template_id).order_by(
            template_versions.c.number.desc()
        )
    )
    return [TemplateVersion(**row._asdict()) for row in rows]


def version_by_number(
    connection: Connection, template_id: str, number: int
) -> TemplateVersion | None:
    """One version of a template."""
    row = connection.execute(
        _VERSIONS.where(
            template_versions.c.template_id == template_id, template_versions.c.number == number
        )
    ).first()
    return None if row is None else TemplateVersion(**row._asdict())


def version_archive(connection: Connection, version_id: str) -> bytes:
    """The uploaded archive of a version."""
    archive = connection.execute(
        select(template_versions.c.archive).where(template_versions.c.id == version_id)
    ).scalar_one()
    return bytes(archive)


def count_workspaces(connection: Connection, template_id: str) -> int:
    """How many workspaces that are not deleted use a template."""
    found = connection.execute(
        select(func.count()).where(
            workspaces.c.template_id == template_id, workspaces.c.deleted_at.is_(None)
        )
    )
    return int(found.scalar_one())


def mark_template_deleted(connection: Connection, template_id: str, now: datetime) -> None:
    """Delete a template; its versions stay for the record and the name is free again."""
    connection.execute(
        update(templates).where(templates.c.id == template_id).values(deleted_at=now)
    )


def _newest_number(connection: Connection, template_id: str) -> int:
    newest = connection.execute(
        select(func.coalesce(func.max(template_versions.c.number), 0)).where(
            template_versions.c.template_id == template_id
        )
    )
    return int(newest.scalar_one())
