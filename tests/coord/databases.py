"""Databases of tests: migrated once for all of them, and given to each as a copy."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import make_url, text

from kled_coord.store.engine import Store, open_store
from kled_coord.store.migrate import migrate
from tests.kit.postgres import find_postgres, open_postgres

_FILE = "coord.sqlite3"


def migrated_file(directory: Path) -> Path:
    """A SQLite database with the newest schema and nothing in it."""
    opened = open_store(f"sqlite:///{directory / _FILE}")
    migrate(opened.engine, lock_file=directory / "migrate.lock")
    opened.close()
    return directory / _FILE


def open_copy(migrated: Path, directory: Path) -> Store:
    """A copy of that database in the directory."""
    shutil.copyfile(migrated, directory / _FILE)
    return open_store(f"sqlite:///{directory / _FILE}")


@contextmanager
def migrated_server(directory: Path) -> Iterator[str]:
    """The URL of a private PostgreSQL on a Unix socket, which has a database `migrated`."""
    if find_postgres() is None:
        pytest.skip("PostgreSQL is not installed")
    with open_postgres() as server:
        _administer(server.url, "CREATE DATABASE migrated")
        opened = open_store(_database(server.url, "migrated"))
        migrate(opened.engine, lock_file=directory / "migrate.lock")
        opened.close()
        yield server.url


def open_copy_on(server: str) -> Store:
    """A copy of that database, in place of the copy before."""
    return _open_new(server, "migrated")


def open_empty_on(server: str) -> Store:
    """A database without any table, in place of the copy before."""
    return _open_new(server, "template0")


def _open_new(server: str, template: str) -> Store:
    _administer(server, "DROP DATABASE IF EXISTS test WITH (FORCE)")
    _administer(server, f"CREATE DATABASE test TEMPLATE {template}")
    return open_store(_database(server, "test"))


def _database(server: str, name: str) -> str:
    return make_url(server).set(database=name).render_as_string(hide_password=False)


def _administer(server: str, statement: str) -> None:
    """Run what PostgreSQL runs outside of a transaction only."""
    opened = open_store(server)
    with opened.engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT").execute(text(statement))
    opened.close()
