"""Queries: templates."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, select, update

from kled_coord.store.schema import template_versions, templates, users, workspaces
from kled_coord.store.template_records import Template
from kled_wire.errors import NotFoundError

_ACTIVE = template_versions.alias("active")
_TEMPLATES = select(
    templates.c.id,
    templates.c.name,
    templates.c.display_name,
    templates.c.description,
    templates.c.icon,
    templates.c.active_version_id,
    func.coalesce(_ACTIVE.c.number, 0).label("active_version"),
    templates.c.check_deadline_s,
    templates.c.build_quiet_s,
    templates.c.stop_after_s,
    templates.c.usable_by,
    templates.c.created_at,
    templates.c.updated_at,
).select_from(templates.outerjoin(_ACTIVE, _ACTIVE.c.id == templates.c.active_version_id))
ALIVE = templates.c.deleted_at.is_(None)


def list_templates(connection: Connection) -> list[Template]:
    """All templates, by name."""
    rows = connection.execute(_TEMPLATES.where(ALIVE).order_by(templates.c.name))
    return [Template(**row._asdict()) for row in rows]


def template_by_name(connection: Connection, name: str) -> Template | None:
    """The template of that name, unless deleted."""
    row = connection.execute(_TEMPLATES.where(ALIVE, templates.c.name == name)).first()
    return None if row is None else Template(**row._asdict())


def hold_template(connection: Connection, template_id: str, name: str) -> None:
    """Keep a template from being deleted until the transaction ends. Raises NotFoundError."""
    query = select(templates.c.id).where(ALIVE, templates.c.id == template_id)
    if connection.execute(query.with_for_update(read=True)).first() is None:
        raise template_not_found(name)


def template_not_found(name: str) -> NotFoundError:
    """What is said of a template that is not there."""
    return NotFoundError(
        "template_not_found", f"there is no template {name[:40]}", hint="kled template list"
    )


def change_template(
    connection: Connection, name: str, columns: Mapping[str, Any], now: datetime
) -> Template:
    """Change a template, by column. Raises NotFoundError."""
    connection.execute(
        update(templates).where(ALIVE, templates.c.name == name).values(updated_at=now, **columns)
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


def delete_template(
    connection: Connection, template_id: str, now: datetime
) -> list[tuple[str, str]]:
    """Delete a template that no workspace uses; returns those that do: owners and names.

    Its versions stay for the record and the name is free again.
    """
    # Held against workspaces that are being made of it.
    connection.execute(
        select(templates.c.id).where(templates.c.id == template_id).with_for_update()
    )
    found = connection.execute(
        select(users.c.name, workspaces.c.name)
        .join(users, users.c.id == workspaces.c.owner_id)
        .where(workspaces.c.template_id == template_id, workspaces.c.deleted_at.is_(None))
        .order_by(users.c.name, workspaces.c.name)
    )
    in_use = [(str(owner), str(name)) for owner, name in found]
    if not in_use:
        connection.execute(
            update(templates).where(templates.c.id == template_id).values(deleted_at=now)
        )
    return in_use
