"""Migrates the database to the newest schema, under a lock."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, exc, text

from kled_coord.store.engine import WRITE, is_sqlite
from kled_coord.store.errors import damaged, from_database
from kled_wire.errors import ConfigError

# Any fixed number: PostgreSQL's advisory lock for "migrating Kled".
_ADVISORY_LOCK: Final = 0x6B6C6564


def migrate(engine: Engine, *, lock_file: Path) -> None:
    """Run the migrations that are missing; blocks while another process does so.

    `lock_file` serialises starters on SQLite; PostgreSQL has an advisory lock.
    Raises StoreError, ConfigError("database_newer").
    """
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    try:
        if is_sqlite(engine):
            with _locked(lock_file), _without_foreign_keys(engine) as link:
                _upgrade(config, link)
        else:
            with engine.begin() as link:
                link.execute(text(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})"))
                _upgrade(config, link)
    except exc.SQLAlchemyError as error:
        raise from_database(error) from error


def _check_not_newer(heads: set[str], scripts: ScriptDirectory) -> None:
    """Raise ConfigError("database_newer") for a schema that this release does not know."""
    if newer := heads - {script.revision for script in scripts.walk_revisions()}:
        raise ConfigError(
            "database_newer",
            f"the database was made by a newer release (schema {', '.join(sorted(newer))})",
            hint="run that release, or restore a backup from before the upgrade",
        )


def _upgrade(config: Config, connection: Connection) -> None:
    scripts = ScriptDirectory.from_config(config)
    heads = {*MigrationContext.configure(connection).get_current_heads()}
    _check_not_newer(heads, scripts)
    if heads == {*scripts.get_heads()}:
        return
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    if is_sqlite(connection.engine):
        _check_references(connection)


def _check_references(connection: Connection) -> None:
    broken = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
    if broken is not None:
        raise damaged(f"a row of {broken[0]} refers to none of {broken[2]}")


@contextmanager
def _without_foreign_keys(engine: Engine) -> Iterator[Connection]:
    """A write transaction on SQLite in which foreign keys are not checked.

    Most changes of a table are a new table in its place, and others refer to the old one
    (https://sqlite.org/lang_altertable.html, "Making Other Kinds Of Table Schema Changes").
    """
    with engine.execution_options(**{WRITE: True}).connect() as connection:
        connection.detach()  # from the pool: nobody else gets it as it is now
        connection.connection.cursor().execute("PRAGMA foreign_keys = OFF")  # before it begins
        with connection.begin():
            yield connection


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
