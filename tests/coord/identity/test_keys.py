"""Registered keys, on both databases: who may add one, which agents get it, what ends it."""

from __future__ import annotations

import os
from dataclasses import dataclass

import pytest
import trio

from kled_coord.identity.keys import MOST, KeyChange
from kled_coord.identity.users import UserChange
from kled_coord.policy.actions import Action
from kled_coord.policy.decide import Caller
from kled_coord.policy.roles import Role
from kled_coord.store.agents import insert_agent
from kled_coord.store.records import Workspace
from kled_coord.store.user_keys import list_user_keys
from kled_wire.control.messages import UserKey
from kled_wire.errors import (
    ConflictError,
    ForbiddenError,
    InputError,
    KledError,
    LimitError,
    NotFoundError,
    UnauthenticatedError,
)
from kled_wire.names import AgentId
from tests.coord.conftest import World
from tests.kit.public_keys import new_public_key

DAY_S = 86400


@dataclass
class Person:
    """Alice with two running workspaces."""

    world: World
    alice: Caller
    dev: Workspace
    web: Workspace

    async def add(self, line: str = "", **more: object) -> KeyChange:
        options: dict[str, object] = {"name": None, "workspace": None, "lifetime_s": None, **more}
        return await self.world.services.keys.add(
            self.alice,
            line=line or new_public_key(),
            **options,  # type: ignore[arg-type]
        )

    def held(self, workspace: Workspace) -> tuple[UserKey, ...] | None:
        return self.world.registry.keys.get(agent_of(workspace))

    async def good(self, workspace: Workspace) -> set[str]:
        agent_id = AgentId(agent_of(workspace))
        return {key.id for key in await self.world.services.agent_keys.good_for(agent_id)}

    async def actions(self) -> list[str]:
        return [row.action for row in await self.world.services.audit.newest(50) if row.allowed]


def agent_of(workspace: Workspace) -> str:
    return f"agt_{workspace.id}"[:40]


async def sign_in(world: World, name: str, password: str = "") -> Caller:
    _, new = await world.services.logins.login(
        username=name,
        password=password or f"{name}-password",
        token_name="t",
        address="1.2.3.4",
    )
    return await world.services.identity.authenticate(new.secret)


async def make_workspace(world: World, make_tar, owner: Caller, name: str) -> Workspace:
    services = world.services
    version = await services.templates.version(owner, "t", None)
    made = await services.workspaces.create(owner, name=name, version=version, parameters={})
    await services.store.write(
        insert_agent,
        agent_id=agent_of(made.workspace),
        workspace_id=made.workspace.id,
        name="main",
        token_hash=os.urandom(32),
        token_sealed=b"",
        now=world.clock.now,
    )
    world.registry.connect(agent_of(made.workspace), world.clock.now)
    return made.workspace


@pytest.fixture
async def person(lite_world: World, make_tar) -> Person:
    return await make_person(lite_world, make_tar)


@pytest.fixture
async def person_on_both(world: World, make_tar) -> Person:
    return await make_person(world, make_tar)


async def make_person(world: World, make_tar) -> Person:
    root = await world.user("root", "owner")
    tar = make_tar({"main.tf": b"#"})
    await world.services.pushing.push(root, "t", message="", upload=tar)
    await world.user("alice")
    alice = await sign_in(world, "alice")
    dev = await make_workspace(world, make_tar, alice, "dev")
    web = await make_workspace(world, make_tar, alice, "web")
    return Person(world, alice, dev, web)


async def test_a_key_reaches_all_of_its_users_agents_and_nobody_elses(
    person_on_both: Person, make_tar
) -> None:
    person = person_on_both
    await person.world.user("bob")
    bob = await sign_in(person.world, "bob")
    foreign = await make_workspace(person.world, make_tar, bob, "dev")
    added = await person.add(name="laptop")
    assert added.unanswered == []
    for workspace in (person.dev, person.web):
        (key,) = person.held(workspace) or ()
        assert (key.id, key.user, key.key) == (
            added.key.id,
            person.alice.user_id,
            added.key.public_key,
        )
        assert key.expires_in_s == 90 * DAY_S
    assert not person.held(foreign)
    assert await person.good(foreign) == set()
    assert Action.KEY_ADD in await person.actions()


async def test_a_key_for_one_workspace_reaches_only_that(person: Person) -> None:
    added = await person.add(workspace=person.dev)
    assert (await person.good(person.dev), await person.good(person.web)) == ({added.key.id}, set())
    (listed,) = await person.world.services.keys.list_for(person.alice)
    assert (listed.workspace, listed.id) == ("dev", added.key.id)


async def test_a_key_ends_when_it_said_it_would(person: Person) -> None:
    added = await person.add(lifetime_s=60)
    person.world.clock.advance(59)
    assert await person.good(person.dev) == {added.key.id}
    person.world.clock.advance(1)
    assert await person.good(person.dev) == set()
    for lifetime in (0, -1, 11 * 366 * DAY_S, float("nan")):
        with pytest.raises(InputError):
            await person.add(lifetime_s=lifetime)


async def test_adding_takes_a_sign_in_of_the_last_ten_minutes(person: Person) -> None:
    services = person.world.services
    made = await services.identity.create_token(
        person.alice, name="t", scopes=("all",), lifetime_s=None
    )
    with pytest.raises(ForbiddenError) as caught:
        await services.keys.add(
            await services.identity.authenticate(made.secret),
            line=new_public_key(),
            name=None,
            workspace=None,
            lifetime_s=None,
        )
    assert caught.value.code == "sign_in_needed"
    rows = await services.audit.newest(50)
    assert [r.action for r in rows if not r.allowed] == [Action.KEY_ADD]
    person.world.clock.advance(600)
    await person.add()
    person.world.clock.advance(1)
    with pytest.raises(ForbiddenError):
        await person.add()


@pytest.mark.parametrize("scope", ["read", "ssh"])
async def test_adding_takes_the_scope_all(person: Person, scope: str) -> None:
    narrow = Caller(
        user_id=person.alice.user_id,
        user_name="alice",
        role=Role.MEMBER,
        scopes=(scope,),
        token_id=person.alice.token_id,
    )
    for call in (
        person.world.services.keys.add(
            narrow, line=new_public_key(), name=None, workspace=None, lifetime_s=None
        ),
        person.world.services.keys.remove(narrow, (await person.add()).key.id),
    ):
        with pytest.raises(ForbiddenError) as caught:
            await call
        assert caught.value.code == "forbidden"


async def test_a_user_has_at_most_twenty_and_no_key_twice(person_on_both: Person) -> None:
    person = person_on_both
    line = new_public_key()
    await person.add(line)
    with pytest.raises(ConflictError) as caught:
        await person.add(line + " another comment")
    assert caught.value.code == "key_exists"
    await person.add(line, workspace=person.dev)
    for _ in range(MOST - 3):
        await person.add()
    short = await person.add(lifetime_s=60)
    with pytest.raises(LimitError):
        await person.add()
    person.world.clock.advance(60)
    await person.add()
    ids = {key.id for key in await person.world.services.keys.list_for(person.alice)}
    assert (len(ids), short.key.id in ids) == (MOST, False)


async def test_twenty_added_at_once_are_twenty(person_on_both: Person) -> None:
    person = person_on_both
    refused: list[str] = []

    async def add() -> None:
        try:
            await person.add()
        except LimitError as error:
            refused.append(error.code)

    async with trio.open_nursery() as nursery:
        for _ in range(MOST + 3):
            nursery.start_soon(add)
    assert refused == ["keys_limit"] * 3


async def test_removing_says_which_agents_have_not_answered(person: Person) -> None:
    world = person.world
    world.services.agent_keys.answer_s = 0.3
    added = await person.add()
    world.registry.mute.add(agent_of(person.web))
    removed = await world.services.keys.remove(person.alice, added.key.id)
    assert removed.unanswered == ["web"]
    assert person.held(person.dev) == ()
    assert Action.KEY_REMOVE in await person.actions()
    with pytest.raises(NotFoundError):
        await world.services.keys.remove(person.alice, added.key.id)


async def test_an_agent_that_is_away_may_go_on_for_ten_minutes(person: Person) -> None:
    world = person.world
    added = await person.add()
    await world.services.agents.disconnected(AgentId(agent_of(person.web)))
    world.registry.drop(agent_of(person.web), "away")
    world.clock.advance(599)
    second = await person.add()
    assert second.unanswered == ["web"]
    world.clock.advance(1)
    assert (await world.services.keys.remove(person.alice, added.key.id)).unanswered == []


async def test_others_keys_are_an_admins_to_remove_and_nobody_elses(person: Person) -> None:
    added = await person.add()
    with pytest.raises(ForbiddenError):
        await person.world.services.keys.remove(await person.world.user("eve"), added.key.id)
    boss = await person.world.user("boss", "admin")
    await person.world.services.keys.remove(boss, added.key.id)
    assert await person.good(person.dev) == set()


@pytest.mark.parametrize("what", ["password", "suspension", "code"])
async def test_what_locks_a_user_out_ends_their_keys_at_once(
    person_on_both: Person, what: str
) -> None:
    person = person_on_both
    world, services = person.world, person.world.services
    root = await sign_in(world, "root")
    await person.add()
    if what == "password":
        await services.users.change(
            person.alice,
            "alice",
            UserChange(password="new-password", old_password="alice-password"),
        )
    elif what == "suspension":
        await services.users.change(root, "alice", UserChange(suspended=True))
    else:
        code = await services.logins.reset("alice")
        assert person.held(person.dev) != ()
        await services.logins.exchange(
            code=code, password="new-password", token_name="t", address="1.2.3.4"
        )
    assert (person.held(person.dev), person.held(person.web)) == ((), ())
    if what == "suspension":
        await services.users.change(root, "alice", UserChange(suspended=False))
    assert await person.good(person.dev) == set()


async def test_a_deleted_users_keys_are_gone(person: Person) -> None:
    services = person.world.services
    user = await person.world.user("bob")
    bob = await sign_in(person.world, "bob")
    await services.keys.add(bob, line=new_public_key(), name="", workspace=None, lifetime_s=None)
    await services.users.delete(await sign_in(person.world, "root"), "bob")
    assert await services.store.read(list_user_keys, user.user_id) == []


async def test_a_token_that_was_revoked_meanwhile_adds_nothing(person: Person) -> None:
    await person.world.services.identity.logout(person.alice)
    with pytest.raises(UnauthenticatedError):
        await person.add()
    assert await person.good(person.dev) == set()


async def test_telling_that_was_interrupted_is_done_again(person: Person) -> None:
    world = person.world
    world.registry.stuck.add(agent_of(person.dev))
    with trio.move_on_after(0.05) as scope:
        await person.add()
    assert scope.cancelled_caught
    await _told_once(person)
    # Nothing could be sent in time: an older list may still be under way.
    world.registry.stuck.add(agent_of(person.dev))
    person.world.services.agent_keys.answer_s = 0.3
    assert (await person.add()).unanswered == ["dev"]
    await _told_once(person)
    # What was sent arrives before the link ends, answered or not.
    world.registry.mute.add(agent_of(person.dev))
    assert (await person.add()).unanswered == ["dev"]
    world.registry.mute.clear()
    world.registry.keys.clear()
    await world.services.agent_keys.tell_again()
    assert not world.registry.keys


async def _told_once(person: Person) -> None:
    registry = person.world.registry
    registry.stuck.clear()
    registry.keys.clear()
    await person.world.services.agent_keys.tell_again()
    assert {key.id for key in person.held(person.dev) or ()} == await person.good(person.dev)
    registry.keys.clear()
    await person.world.services.agent_keys.tell_again()
    assert not registry.keys


async def test_a_use_is_audited_with_its_user_and_remembered(person: Person) -> None:
    services = person.world.services
    added = await person.add()
    agent = await services.workspaces.agent_of(person.dev.id)
    await services.agent_keys.used(agent, added.key.id)
    rows = await services.audit.newest(50)
    (row,) = (row for row in rows if row.action == Action.KEY_USE)
    assert (row.user_name, row.resource) == ("alice", f"key {added.key.id}")
    assert added.key.fingerprint in row.detail
    assert person.dev.id in row.detail
    (listed,) = await services.keys.list_for(person.alice)
    assert listed.last_used_at == person.world.clock.now


async def test_a_comment_reaches_nobodys_terminal(person: Person) -> None:
    added = await person.add(new_public_key() + " \x1b]0;owned\x07" + "x" * 200)
    assert added.key.name == "]0;owned" + "x" * 72
    with pytest.raises(KledError):
        await person.add("ssh-ed25519 nonsense")
