"""Databases of older releases, with rows in every table, keep them when the schema changes."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData, Table

from kled_coord.store import migrations
from kled_coord.store.engine import WRITE, Store, is_sqlite, open_store
from kled_coord.store.errors import StoreError
from kled_coord.store.migrate import migrate
from kled_coord.store.schema import metadata
from tests.coord.databases import open_empty_on

CONFIG = Config()
CONFIG.set_main_option("script_location", str(Path(migrations.__file__).parent))
_HEAD, *_OLDER = [each.revision for each in ScriptDirectory.from_config(CONFIG).walk_revisions()]
OLDER = [*_OLDER[:6], _OLDER[-1]]  # the newest, and the first, which meets every migration
ROWS = 2
VERSION_TABLE = "alembic_version"
Rows = dict[str, list[dict[str, Any]]]


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A database without any table."""
    if request.param == "sqlite":
        store = open_store(f"sqlite:///{tmp_path}/coord.sqlite3")
    else:
        store = open_empty_on(request.getfixturevalue("postgres"))
    yield store
    store.close()


def tables_of(connection: Connection) -> list[Table]:
    """As they are in the database; those that others refer to first."""
    found = MetaData()
    found.reflect(connection)
    return [table for table in found.sorted_tables if table.name != VERSION_TABLE]


def value_of(column: sa.Column[Any], row: int) -> object:
    """Something for the column; a reference is to the row of the same number."""
    for reference in column.foreign_keys:
        return value_of(reference.column, row)
    if isinstance(column.type, sa.String):
        return f"{column.name[:9]}{row}"
    if isinstance(column.type, sa.DateTime):
        at = datetime(2026, 1, row, tzinfo=UTC)
        return at if column.type.timezone else at.replace(tzinfo=None)
    if isinstance(column.type, sa.LargeBinary):
        return bytes([row]) * 32
    if isinstance(column.type, sa.JSON):
        return {"a": str(row)}
    return bool(row % 2) if isinstance(column.type, sa.Boolean) else row


def rows_of(connection: Connection, tables: list[Table]) -> Rows:
    return {
        table.name: [dict(row) for row in connection.execute(table.select()).mappings()]
        for table in tables
    }


def fill(connection: Connection) -> Rows:
    tables = tables_of(connection)
    for table in tables:
        values = [{c.name: value_of(c, row) for c in table.columns} for row in range(1, ROWS + 1)]
        connection.execute(table.insert(), values)
    return rows_of(connection, tables)


@pytest.mark.parametrize("revision", OLDER)
def test_rows_of_an_older_release_are_kept(empty: Store, revision: str, tmp_path: Path) -> None:
    with empty.engine.execution_options(**{WRITE: True}).begin() as link:
        CONFIG.attributes["connection"] = link
        command.upgrade(CONFIG, revision)
        before = fill(link)
    assert {"template_versions", "workspaces", "builds", "agents", "sessions", "states"} <= {
        *before
    }
    assert {len(rows) for rows in before.values()} == {ROWS}

    migrate(empty.engine, lock_file=tmp_path / "migrate.lock")

    with empty.engine.begin() as link:
        tables = tables_of(link)
        after = rows_of(link, tables)
        if is_sqlite(empty.engine):
            assert link.exec_driver_sql("PRAGMA foreign_key_check").all() == []
    columns = {table.name: {*table.columns.keys()} for table in tables}
    assert columns == {table.name: {*table.columns.keys()} for table in metadata.sorted_tables}
    for name, rows in before.items():
        kept = [{key: row[key] for key in rows[0] if key in row} for row in after[name]]
        assert kept == [{key: row[key] for key in row if key in columns[name]} for row in rows]


def test_a_row_that_refers_to_none_is_not_taken_over(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path}/coord.sqlite3")
    with store.engine.execution_options(**{WRITE: True}).begin() as link:
        CONFIG.attributes["connection"] = link
        command.upgrade(CONFIG, OLDER[0])
        before = fill(link)
    with closing(sqlite3.connect(tmp_path / "coord.sqlite3")) as file:
        file.execute("DELETE FROM template_versions")  # which checks no foreign keys
        file.commit()
    with pytest.raises(StoreError) as caught:
        migrate(store.engine, lock_file=tmp_path / "migrate.lock")
    assert caught.value.code == "store_damaged"
    with store.engine.begin() as link:
        assert link.exec_driver_sql(f"SELECT * FROM {VERSION_TABLE}").scalar_one() == OLDER[0]
        assert link.exec_driver_sql("PRAGMA foreign_keys").scalar_one() == 1
        assert len(rows_of(link, tables_of(link))["builds"]) == len(before["builds"])
    store.close()
