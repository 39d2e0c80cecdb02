"""What people type to find workspaces, and what the database makes of it."""

from __future__ import annotations

from contextlib import suppress
from functools import partial

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from kled_coord.store.filters import WorkspaceSearch
from kled_coord.store.schema import workspaces as table
from kled_coord.workspaces.search import parse_search
from kled_wire.errors import InputError
from tests.coord.builds.steps import create, template


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", WorkspaceSearch()),
        ("web  api", WorkspaceSearch(words=("web", "api"))),
        ("owner:me", WorkspaceSearch(owners=("alice",))),
        ("owner:bob,me name:x", WorkspaceSearch(owners=("bob", "alice"), names=("x",))),
        (
            "status:running status:stopped web",
            WorkspaceSearch(statuses=("running", "stopped"), words=("web",)),
        ),
        ("template:a outdated:yes", WorkspaceSearch(templates=("a",), outdated=True)),
    ],
)
def test_terms_are_keys_or_words(text: str, found: WorkspaceSearch) -> None:
    assert parse_search(text, "alice") == found


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("colour:red", "nothing is called 'colour'"),
        ("status:", "status: has an empty value"),
        ("status:running,", "status: has an empty value"),
        ("status:happy", "no workspace is ever 'happy'"),
        ("status:deleted", "no workspace is ever 'deleted'"),
        ("outdated:maybe", "neither true nor false"),
        ("outdated:true,false", "neither true nor false"),
        ("x " * 21, "more than 20"),
    ],
)
def test_what_means_nothing_is_refused(text: str, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        parse_search(text, "alice")
    assert caught.value.code == "search_invalid"


@given(st.text(max_size=255))
def test_anything_is_a_search_or_refused(text: str) -> None:
    with suppress(InputError):
        parse_search(text, "alice")


async def test_a_search_narrows_down_what_the_policy_lets_through(world, make_tar) -> None:
    await template(world, make_tar)
    alice, bob = await world.user("alice"), await world.user("bob")
    auditor = await world.user("log", "auditor")
    for name in ("web", "web-2", "db"):
        made = await create(world, alice, name)
        world.clock.advance(1)
    await create(world, bob, "web")
    running = sa.update(table).where(table.c.id == made.workspace.id).values(status="running")
    await world.services.store.write(lambda connection: connection.execute(running))

    async def found(caller, owner, search="", sort="owner"):
        listed = await world.services.workspaces.list_for(caller, owner, search, sort)
        return [f"{w.workspace.owner_name}/{w.workspace.name}" for w in listed]

    mine, everybodys = partial(found, alice, None), partial(found, auditor, "*")
    assert await mine() == ["alice/db", "alice/web", "alice/web-2"]
    assert await mine("WEB") == ["alice/web", "alice/web-2"]
    assert await mine("B-") == ["alice/web-2"]
    assert await mine("%") == await mine("w_b") == []
    assert await mine("status:running") == ["alice/db"]
    assert await mine("status:running,pending name:web") == ["alice/web"]
    assert await mine("template:plain", "-created") == ["alice/db", "alice/web-2", "alice/web"]
    assert await mine("template:other") == []
    # Who may not see others' workspaces finds none of them, whatever is asked for.
    assert await mine("owner:bob") == await mine("owner:nobody") == []
    assert await found(alice, "*", "web") == ["alice/web", "alice/web-2"]
    assert await everybodys("web", "-name") == ["alice/web-2", "alice/web", "bob/web"]
    assert await found(auditor, None, "owner:bob,alice name:web") == ["alice/web", "bob/web"]
    assert await found(auditor, "bob", "owner:alice") == []
    assert await everybodys("outdated:false") == await everybodys()
    boss = world.caller(await world.services.users.get(auditor, "boss"))
    await world.services.pushing.push(
        boss, "plain", message="", upload=make_tar({"main.tf": b'variable "size" {} # 2'})
    )
    assert await mine("outdated:true db") == ["alice/db"]
    assert await mine("outdated:false") == []
    with pytest.raises(InputError, match="nothing can be sorted by colour"):
        await mine("", "colour")
