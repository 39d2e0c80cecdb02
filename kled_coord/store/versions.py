"""Queries: versions of templates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Column, Connection, Row, func, insert, select, update

from kled_coord.store.schema import builds, template_versions, templates, users, workspaces
from kled_coord.store.template_records import (
    ParameterOption,
    ParameterValidation,
    Template,
    TemplateParameter,
    TemplatePreset,
    TemplateVersion,
    Variable,
)
from kled_coord.store.templates import ALIVE
from kled_wire.errors import ConflictError
from kled_wire.names import WorkspaceId

_VERSIONS = select(
    template_versions.c.id,
    template_versions.c.template_id,
    templates.c.name.label("template"),
    template_versions.c.number,
    template_versions.c.name,
    template_versions.c.message,
    template_versions.c.variables,
    template_versions.c.fixed,
    template_versions.c.parameters,
    template_versions.c.presets,
    template_versions.c.created_at,
    template_versions.c.archived_at,
    users.c.name.label("created_by"),
).select_from(
    template_versions.join(templates, templates.c.id == template_versions.c.template_id).join(
        users, users.c.id == template_versions.c.created_by
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewVersion:
    """A version to add. `fixed` and `fixed_sealed` are the columns."""

    id: str
    name: str | None
    message: str
    archive: bytes = field(repr=False)
    readme: str
    variables: Sequence[Variable]
    fixed: Mapping[str, str | None]
    fixed_sealed: bytes | None = field(repr=False)
    parameters: Sequence[TemplateParameter] | None
    presets: Sequence[TemplatePreset]
    user_id: str
    created_at: datetime


# Given the workspace's id, and the two columns; returns the two columns.
RewriteParameters = Callable[
    [WorkspaceId, dict[str, str | None], bytes | None],
    tuple[dict[str, str | None], bytes | None],
]


def add_version(
    connection: Connection,
    *,
    name: str,
    new_template_id: str,
    version: NewVersion,
    columns: Mapping[str, Any],
    activate: bool,
) -> TemplateVersion:
    """Add a version, and the template when it is new, and make the version active.

    `columns` are those of the template to change. Without `activate` the active one stays, unless
    it is the first.

    Raises DuplicateError when another of that name was made at the same time, and
    ConflictError("version_name_taken").
    """
    # Held, so that it is not deleted meanwhile, nor two pushes take one number.
    query = select(templates.c.id).where(ALIVE, templates.c.name == name)
    template_id = connection.execute(query.with_for_update()).scalar()
    is_new = template_id is None
    if template_id is None:
        template_id = new_template_id
        _add_template(connection, template_id, name, version.created_at)
    _check_name_free(connection, template_id, name, version)
    active = {"active_version_id": version.id} if is_new or activate else {}
    connection.execute(
        update(templates)
        .where(templates.c.id == template_id)
        .values(updated_at=version.created_at, **active, **columns)
    )
    _add_row(connection, template_id, version)
    return version_by_id(connection, version.id)


def _add_template(
    connection: Connection, template_id: str, name: str, created_at: datetime
) -> None:
    connection.execute(
        insert(templates).values(
            id=template_id, name=name, created_at=created_at, updated_at=created_at
        )
    )


def _add_row(connection: Connection, template_id: str, version: NewVersion) -> None:
    connection.execute(
        insert(template_versions).values(
            id=version.id,
            template_id=template_id,
            number=_newest_number(connection, template_id) + 1,
            name=version.name,
            message=version.message,
            archive=version.archive,
            readme=version.readme,
            variables=[asdict(variable) for variable in version.variables],
            fixed=dict(version.fixed),
            fixed_sealed=version.fixed_sealed,
            parameters=_rows(version.parameters),
            presets=_rows(version.presets),
            created_at=version.created_at,
            created_by=version.user_id,
        )
    )


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


def find_version(
    connection: Connection, template_id: str, wanted: int | str
) -> TemplateVersion | None:
    """One version of a template, by number or name."""
    columns = template_versions.c
    column = columns.number if isinstance(wanted, int) else columns.name
    row = connection.execute(
        _VERSIONS.where(columns.template_id == template_id, column == wanted)
    ).first()
    return None if row is None else _version(row)


def previous_version(connection: Connection, template: Template) -> TemplateVersion | None:
    """The newest before the active one that is not archived."""
    row = connection.execute(
        _VERSIONS.where(
            template_versions.c.template_id == template.id,
            template_versions.c.number < template.active_version,
            template_versions.c.archived_at.is_(None),
        ).order_by(template_versions.c.number.desc())
    ).first()
    return None if row is None else _version(row)


def change_version(connection: Connection, version_id: str, columns: Mapping[str, Any]) -> None:
    """Change a version, by column."""
    connection.execute(
        update(template_versions).where(template_versions.c.id == version_id).values(**columns)
    )


def unread_versions(connection: Connection) -> list[str]:
    """Ids of the versions whose variables were never listed."""
    return list(
        connection.execute(
            select(template_versions.c.id).where(template_versions.c.variables.is_(None))
        ).scalars()
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
    """The archive of a version."""
    return bytes(_column(connection, version_id, template_versions.c.archive))


def version_readme(connection: Connection, version_id: str) -> str:
    """The README of a version, "" where it has none."""
    return str(_column(connection, version_id, template_versions.c.readme))


def version_fixed_sealed(connection: Connection, version_id: str) -> bytes | None:
    """The sealed values of a version's variables, None where there are none."""
    sealed = _column(connection, version_id, template_versions.c.fixed_sealed)
    return None if sealed is None else bytes(sealed)


def _check_name_free(
    connection: Connection, template_id: str, template: str, version: NewVersion
) -> None:
    taken = version.name and find_version(connection, template_id, version.name)
    if taken:
        raise ConflictError(
            "version_name_taken",
            f"version {taken.number} of {template} is called {version.name} already",
            hint=f"kled template versions {template}",
        )


def _column(connection: Connection, version_id: str, column: Column[Any]) -> Any:
    query = select(column).where(template_versions.c.id == version_id)
    return connection.execute(query).scalar_one()


def _rows(
    records: Sequence[TemplateParameter] | Sequence[TemplatePreset] | None,
) -> list[dict[str, Any]] | None:
    return None if records is None else [asdict(record) for record in records]


def _version(row: Row[*tuple[Any, ...]]) -> TemplateVersion:
    values = row._asdict()
    variables, presets = values.pop("variables") or (), values.pop("presets") or ()
    parameters, fixed = values.pop("parameters"), values.pop("fixed")
    return TemplateVersion(
        **values,
        variables=tuple(Variable(**each) for each in variables),
        fixed=fixed or {},
        parameters=None if parameters is None else tuple(map(_parameter, parameters)),
        presets=tuple(TemplatePreset(**each) for each in presets),
    )


def _parameter(values: Mapping[str, Any]) -> TemplateParameter:
    validation = values["validation"]
    return TemplateParameter(
        **{
            **values,
            "options": tuple(ParameterOption(**each) for each in values["options"]),
            "validation": validation and ParameterValidation(**validation),
        }
    )


def _newest_number(connection: Connection, template_id: str) -> int:
    newest = connection.execute(
        select(func.coalesce(func.max(template_versions.c.number), 0)).where(
            template_versions.c.template_id == template_id
        )
    )
    return int(newest.scalar_one())
