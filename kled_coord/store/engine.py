"""SQLite or PostgreSQL behind one interface: runs functions in transactions in worker threads.

A query function takes a Connection first and never calls the clock or makes ids. SQLite has one
writer: writes take `BEGIN IMMEDIATE` and a limiter of one, so that they never meet SQLITE_BUSY.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

import trio
from sqlalchemy import (
    URL,
    Connection,
    Engine,
    NullPool,
    create_engine,
    event,
    exc,
    make_url,
    select,
)

from kled_coord.store.errors import StoreError, damaged, from_database
from kled_coord.store.schema import metadata
from kled_wire.errors import ConfigError

P = ParamSpec("P")
T = TypeVar("T")

READERS: Final = 4
# A second process (`kled-coord user …`) may hold the write lock this long, in milliseconds.
BUSY_TIMEOUT_MS: Final = 10_000
WRITE: Final = "kled_write"


class Store:
    """Runs query functions, each in one transaction of its own.

    Once damage to the database was seen, `ping` reports it until the program ends.
    """

    def __init__(self, engine: Engine, fresh: Engine) -> None:
        self.engine = engine
        # Connects anew each time: what an open connection has in its cache proves nothing.
        self._fresh = fresh
        self._damage: StoreError | None = None
        self._readers = trio.CapacityLimiter(READERS)
        self._writers = trio.CapacityLimiter(1 if is_sqlite(engine) else READERS)

    async def read(
        self, query: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `query` in a read transaction. Raises StoreError."""
        return await self._run(self.engine, self._readers, query, *args, **kwargs)

    async def write(
        self, query: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `query` in a write transaction; an exception rolls it back. Raises StoreError."""
        engine = self.engine.execution_options(**{WRITE: True})
        return await self._run(engine, self._writers, query, *args, **kwargs)

    async def ping(self) -> None:
        """Raise StoreError unless the database answers from its files, undamaged as far as seen."""
        if self._damage is not None:
            raise self._damage
        await self._run(self._fresh, self._readers, _read_each_table)

    async def check(self) -> None:
        """Look at the whole database for damage; takes seconds for a large one. Raises StoreError.

        Only SQLite can do that while it is in use.
        """
        if is_sqlite(self.engine):
            await self._run(self._fresh, self._readers, _check_sqlite)

    async def _run(
        self,
        engine: Engine,
        limiter: trio.CapacityLimiter,
        query: Callable[Concatenate[Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        try:
            return await trio.to_thread.run_sync(
                lambda: in_transaction(engine, query, *args, **kwargs), limiter=limiter
            )
        except StoreError as error:
            if error.code == "store_damaged":
                self._damage = error
            raise

    def close(self) -> None:
        """Close pooled connections."""
        self.engine.dispose()


def open_store(url: str) -> Store:
    """Make the store for a database URL; connects at the first query. Raises ConfigError."""
    parsed = normal_url(url)
    if parsed.get_backend_name() == "sqlite":
        options = {"check_same_thread": False}
        engine = create_engine(parsed, connect_args=options)
        fresh = create_engine(parsed, connect_args=options, poolclass=NullPool)
        for each in (engine, fresh):
            event.listen(each, "connect", _set_up_sqlite)
            event.listen(each, "begin", _begin_sqlite)
        return Store(engine, fresh)
    engine = create_engine(
        parsed, pool_size=2 * READERS, pool_pre_ping=True, connect_args={"connect_timeout": 10}
    )
    return Store(engine, engine)


def normal_url(url: str) -> URL:
    """Parse a database URL; `postgresql://` means psycopg 3. Raises ConfigError."""
    try:
        parsed = make_url(url)
    except exc.ArgumentError as error:
        raise ConfigError("config_invalid", "database_url: not a database URL") from error
    if parsed.drivername in {"postgres", "postgresql"}:
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername not in {"sqlite", "postgresql+psycopg"}:
        raise ConfigError(
            "config_invalid", f"database_url: {parsed.drivername} is neither sqlite nor postgresql"
        )
    return parsed


def is_sqlite(engine: Engine) -> bool:
    """Whether this engine talks to SQLite."""
    return engine.dialect.name == "sqlite"


def in_transaction(
    engine: Engine,
    query: Callable[Concatenate[Connection, P], T],
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    """Run `query` in a transaction in this thread. Raises StoreError, DuplicateError."""
    try:
        with engine.begin() as connection:
            return query(connection, *args, **kwargs)
    except exc.SQLAlchemyError as error:
        raise from_database(error) from error


def _read_each_table(connection: Connection) -> None:
    for table in metadata.sorted_tables:
        connection.execute(select(table).limit(1)).first()


def _check_sqlite(connection: Connection) -> None:
    found = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
    if found != "ok":
        raise damaged(str(found))


def _set_up_sqlite(connection: Any, _record: object) -> None:
    # The driver must not begin transactions by itself: _begin_sqlite chooses the kind.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in (
        f"busy_timeout = {BUSY_TIMEOUT_MS}",
        "journal_mode = WAL",
        "synchronous = FULL",
        "foreign_keys = ON",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    write = connection.get_execution_options().get(WRITE, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
