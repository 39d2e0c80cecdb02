"""Queries: seal every sealed value again with another key."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Column, Connection, Row, Table, select, update

from kled_coord.store.schema import agents, builds, ssh_ca, states, template_versions, workspaces
from kled_coord.store.sealing import Sealer


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedColumn:
    """A column of sealed values; `row_id` is what each was bound to when it was sealed.

    It is made from the row's other columns.
    """

    table: Table
    column: Column[Any]
    purpose: str
    row_id: Callable[[Row[*tuple[Any, ...]]], str]


# Every LargeBinary that is not a hash (a test compares this with the schema).
SEALED: Final = (
    SealedColumn(
        table=ssh_ca,
        column=ssh_ca.c.private_key_sealed,
        purpose="ssh_ca",
        row_id=lambda row: str(row.id),
    ),
    SealedColumn(
        table=agents,
        column=agents.c.token_sealed,
        purpose="agent_token",
        row_id=lambda row: str(row.id),
    ),
    SealedColumn(
        table=agents,
        column=agents.c.spec_sealed,
        purpose="agent_spec",
        row_id=lambda row: str(row.id),
    ),
    SealedColumn(
        table=states,
        column=states.c.content_sealed,
        purpose="state",
        row_id=lambda row: f"{row.workspace_id}/{row.version}",
    ),
    # All three are bound to the workspace: what a build has applied becomes its own as it is.
    SealedColumn(
        table=workspaces,
        column=workspaces.c.secrets_sealed,
        purpose="parameters",
        row_id=lambda row: str(row.id),
    ),
    SealedColumn(
        table=builds,
        column=builds.c.secrets_sealed,
        purpose="parameters",
        row_id=lambda row: str(row.workspace_id),
    ),
    SealedColumn(
        table=builds,
        column=builds.c.then_secrets_sealed,
        purpose="parameters",
        row_id=lambda row: str(row.workspace_id),
    ),
    SealedColumn(
        table=template_versions,
        column=template_versions.c.fixed_sealed,
        purpose="fixed_variables",
        row_id=lambda row: str(row.id),
    ),
)


def reseal_all(connection: Connection, old: Sealer, new: Sealer) -> int:
    """Open every value with one sealer and seal it with another; returns how many.

    Raises KledError("sealed_unreadable").
    """
    done = 0
    for sealed in SEALED:
        keys = sealed.table.primary_key.columns
        others = [column for column in sealed.table.columns if column is not sealed.column]
        # One value at a time: a state may have 64 MiB.
        for row in connection.execute(select(*others).where(sealed.column.is_not(None))).all():
            this = [key == getattr(row, key.name) for key in keys]
            value = bytes(connection.execute(select(sealed.column).where(*this)).scalar_one())
            plain = old.open(sealed.purpose, sealed.row_id(row), value)
            again = new.seal(sealed.purpose, sealed.row_id(row), plain)
            connection.execute(
                update(sealed.table).where(*this).values({sealed.column.name: again})
            )
            done += 1
    return done


def check_key(connection: Connection, sealer: Sealer) -> None:
    """Raise KledError("sealed_unreadable") unless the sealer opens the authority's key."""
    for row in connection.execute(select(ssh_ca)).all():
        sealer.open("ssh_ca", str(row.id), bytes(row.private_key_sealed))


def holds_sealed(connection: Connection) -> bool:
    """Whether anything is sealed, so that a key is needed to open it."""
    return any(
        connection.execute(
            select(*sealed.table.primary_key.columns).where(sealed.column.is_not(None)).limit(1)
        ).first()
        for sealed in SEALED
    )
