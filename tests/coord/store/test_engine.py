"""Transactions on both databases."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import trio
from alembic import command
from alembic.config import Config
from sqlalchemy import inspect, text

from kled_coord.store import migrations
from kled_coord.store.engine import WRITE, in_transaction, open_store
from kled_coord.store.errors import DuplicateError, StoreError
from kled_coord.store.migrate import migrate
from kled_coord.store.records import User
from kled_coord.store.schema import metadata
from kled_coord.store.users import insert_user, list_users, user_by_name
from kled_wire.errors import ConfigError
from kled_wire.names import UserId


def user(name: str, clock) -> User:
    return User(
        id=UserId(f"usr_{name}"),
        name=name,
        email=None,
        role="member",
        password_hash=None,
        suspended=False,
        endings=0,
        created_at=clock(),
        last_seen_at=None,
        password_set_at=None,
        password_set_by=None,
    )


async def test_what_is_written_is_read_with_its_time_zone(store, clock) -> None:
    alice = user("alice", clock)
    await store.write(insert_user, alice)
    assert await store.read(user_by_name, "alice") == alice


async def test_a_second_of_one_name_is_refused(store, clock) -> None:
    await store.write(insert_user, user("alice", clock))
    with pytest.raises(DuplicateError):
        await store.write(insert_user, user("alice", clock))


async def test_an_error_rolls_everything_back(store, clock) -> None:
    def half(connection) -> None:
        insert_user(connection, user("alice", clock))
        raise RuntimeError

    with pytest.raises(RuntimeError):
        await store.write(half)
    assert await store.read(list_users) == []


async def test_many_writers_at_once_all_get_through(store, clock) -> None:
    async with trio.open_nursery() as nursery:
        for number in range(30):
            nursery.start_soon(store.write, insert_user, user(f"u{number}", clock))
    assert len(await store.read(list_users)) == 30


async def test_the_migrations_make_the_schema(store) -> None:
    def compare(connection) -> None:
        inspector = inspect(connection)
        for table in metadata.sorted_tables:
            columns = {column["name"] for column in inspector.get_columns(table.name)}
            assert columns == {column.name for column in table.columns}
            indexes = {index["name"] for index in inspector.get_indexes(table.name)}
            assert {index.name for index in table.indexes} <= indexes

    await store.read(compare)


async def test_migrating_again_changes_nothing(store, tmp_path) -> None:
    migrate(store.engine, lock_file=tmp_path / "migrate.lock")


def test_two_starters_migrate_one_after_the_other(tmp_path) -> None:
    failures: list[BaseException] = []

    def start() -> None:
        store = open_store(f"sqlite:///{tmp_path}/new.sqlite3")
        try:
            migrate(store.engine, lock_file=tmp_path / "migrate.lock")
        except BaseException as error:  # noqa: BLE001
            failures.append(error)
        finally:
            store.close()

    threads = [threading.Thread(target=start) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


async def test_a_full_disk_is_said_and_changes_nothing(lite_store, clock) -> None:
    def fill(connection) -> None:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
        insert_user(connection, user("alice", clock))
        connection.execute(text("CREATE TABLE big (x)"))
        connection.execute(text("INSERT INTO big VALUES (zeroblob(1000000))"))

    with pytest.raises(StoreError) as caught:
        await lite_store.write(fill)
    assert caught.value.code == "store_full"
    assert await lite_store.read(list_users) == []

    def check(connection) -> str:
        return connection.exec_driver_sql("PRAGMA integrity_check").scalar_one()

    assert await lite_store.read(check) == "ok"


def test_a_broken_database_is_an_error_of_ours(tmp_path) -> None:
    (tmp_path / "coord.sqlite3").write_bytes(b"not a database at all" * 100)
    store = open_store(f"sqlite:///{tmp_path}/coord.sqlite3")
    with pytest.raises(StoreError) as caught:
        in_transaction(store.engine, list_users)
    assert caught.value.code == "store_damaged"
    store.close()


async def test_a_database_that_was_damaged_since_is_not_ready(lite_store, clock, tmp_path) -> None:
    await lite_store.write(insert_user, user("alice", clock))
    await lite_store.ping()
    file = tmp_path / "coord.sqlite3"
    lite_store.close()
    damaged = b"\xa5" * (file.stat().st_size - 4096)
    with file.open("r+b") as opened:
        opened.seek(4096)
        opened.write(damaged)
    for _ in range(2):
        with pytest.raises(StoreError) as caught:
            await lite_store.ping()
        assert caught.value.code == "store_damaged"


async def test_damage_that_only_a_whole_look_finds_stays_known(lite_store, clock, tmp_path) -> None:
    for number in range(500):
        await lite_store.write(insert_user, user(f"u{number}", clock))
    await lite_store.check()
    lite_store.close()
    file = tmp_path / "coord.sqlite3"
    content = file.read_bytes()
    last = content.rindex(b"usr_u") // 4096
    with file.open("r+b") as opened:
        opened.seek(last * 4096)
        opened.write(bytes([0xA5]) * 4096)
    for look in (lite_store.check, lite_store.ping):
        with pytest.raises(StoreError) as caught:
            await look()
        assert caught.value.code == "store_damaged"


async def test_a_database_of_a_newer_release_is_refused(store, tmp_path) -> None:
    def age(connection) -> None:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))

    await store.write(age)
    with pytest.raises(ConfigError) as caught:
        migrate(store.engine, lock_file=tmp_path / "migrate.lock")
    assert caught.value.code == "database_newer"
    assert "9999" in caught.value.message


@pytest.mark.parametrize("url", ["mysql://x", "nonsense", "sqlite+aiosqlite:///x"])
def test_another_database_is_refused(url) -> None:
    with pytest.raises(ConfigError, match="database_url"):
        open_store(url)


def test_an_error_does_not_tell_where_the_database_is() -> None:
    store = open_store("postgresql://somebody:hunter2@127.0.0.1:9/secretname?connect_timeout=1")
    with pytest.raises(StoreError) as caught:
        in_transaction(store.engine, list_users)
    store.close()
    assert caught.value.code == "store_failed"
    for part in ("127.0.0.1", "port", "9", "somebody", "hunter2", "secretname"):
        assert part not in caught.value.line()


def test_a_workspace_that_a_failed_update_moved_goes_back_to_what_was_applied(tmp_path) -> None:
    store = open_store(f"sqlite:///{tmp_path}/coord.sqlite3")
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))

    with store.engine.execution_options(**{WRITE: True}).begin() as link:

        def insert(table: str, **values: object) -> None:
            names, places = ", ".join(values), ", ".join(f":{name}" for name in values)
            link.execute(text(f"INSERT INTO {table} ({names}) VALUES ({places})"), values)

        config.attributes["connection"] = link
        command.upgrade(config, "0004")
        now = "2026-01-01 00:00:00"
        dated = {"created_at": now, "updated_at": now}
        insert("users", id="u", name="a", role="member", suspended=False, created_at=now)
        insert("templates", id="t", name="t", description="", **dated)
        version = {"template_id": "t", "message": "", "archive": b"", "created_by": "u"}
        for number in (1, 2):
            insert("template_versions", id=f"v{number}", number=number, created_at=now, **version)
        workspace = {"owner_id": "u", "template_id": "t", "version_id": "v2", "status": "failed"}
        for name in ("moved", "new"):
            insert("workspaces", id=name, name=name, parameters='{"a": "b"}', **workspace, **dated)
        build = {"transition": "start", "orphan": False, "created_by": "u", "queued_at": now}
        build |= {"progress_done": 0, "progress_total": 0, "progress_message": ""}
        for of, number, status, version_id in (
            ("moved", 1, "succeeded", "v1"),
            ("moved", 2, "failed", "v2"),
            ("new", 1, "pending", "v2"),
        ):
            more = {"number": number, "status": status, "version_id": version_id}
            insert("builds", id=f"{of}{number}", workspace_id=of, **more, **build)
        command.upgrade(config, "head")
        found = link.execute(text("SELECT id, version_id FROM workspaces ORDER BY id")).all()
        given = link.execute(text("SELECT id, parameters FROM builds ORDER BY id")).all()
    store.close()
    assert [tuple(row) for row in found] == [("moved", "v1"), ("new", "v2")]
    assert dict(map(tuple, given)) == {"moved1": "{}", "moved2": "{}", "new1": '{"a": "b"}'}
