"""A full disk: what only reads goes on, what writes says so, and nothing is half done.

SQLite has a small tmpfs that is really full; PostgreSQL a trigger that says what it says then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import text

from kled_coord.store.engine import Store
from kled_coord.store.schema import metadata
from kled_wire.errors import ForbiddenError, KledError, UnauthenticatedError
from kled_wire.names import parse_workspace_ref
from tests.coord.conftest import open_world
from tests.coord.databases import open_copy, open_copy_on
from tests.kit.small_disk import small_disk, why_no_disk

FULL = """
CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100';
END $$
"""


@pytest.fixture
def disk() -> Iterator[Path]:
    if why := why_no_disk():
        pytest.skip(why)
    with small_disk(2) as found:
        yield found.root


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
def filling(request: pytest.FixtureRequest) -> Iterator[tuple[Store, Callable]]:
    """A store, and what makes its disk full."""
    if request.param == "sqlite":
        disk = request.getfixturevalue("disk")
        store = open_copy(request.getfixturevalue("migrated"), disk)
        fill = partial(_fill, disk)
    else:
        store = open_copy_on(request.getfixturevalue("postgres"))
        fill = partial(_refuse_writes, store)
    yield store, fill
    store.close()


def _fill(disk: Path) -> None:
    with (disk / "filler").open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            return


def _refuse_writes(store: Store) -> None:
    with store.engine.begin() as connection:
        connection.execute(text(FULL))
        for table in metadata.sorted_tables:
            connection.execute(
                text(
                    f"CREATE TRIGGER full_disk BEFORE INSERT OR UPDATE OR DELETE ON {table.name} "
                    "FOR EACH STATEMENT EXECUTE FUNCTION full_disk()"
                )
            )


async def test_what_only_reads_goes_on(filling, sources, terraform, tmp_path: Path) -> None:
    store, fill = filling
    async with open_world(store, sources, terraform, tmp_path) as world:
        await _see_it_go_on(world, fill)


async def _see_it_go_on(world, fill) -> None:
    services = world.services
    await world.user("alice")
    log_in = partial(services.logins.login, username="alice", token_name="t", address="192.0.2.1")
    _, new = await log_in(password="alice-password")
    _, revoked = await log_in(password="alice-password")
    await services.identity.logout(await services.identity.authenticate(revoked.secret))
    fill()
    world.clock.advance(3600)
    for _ in range(3):
        caller = await services.identity.authenticate(new.secret)
    tokens = {t.id: t.revoked_at is None for t in await services.identity.tokens(caller)}
    assert (tokens[new.token.id], tokens[revoked.token.id]) == (True, False)
    with pytest.raises(ForbiddenError):
        await services.users.list_all(caller)
    with pytest.raises(KledError) as caught:
        await services.workspaces.resolve(caller, parse_workspace_ref("dev"), "workspace.read")
    assert caught.value.code == "workspace_not_found"
    for right in (False, True):
        with pytest.raises(KledError) as caught:
            await log_in(password="alice-password" if right else "wrong")
        assert caught.value.code == ("store_full" if right else "login_failed")
    with pytest.raises(UnauthenticatedError) as refused:
        await services.identity.authenticate(revoked.secret)
    assert refused.value.code == "token_revoked"
    await services.store.ping()
