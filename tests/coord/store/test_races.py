"""Pairs of changes that exclude each other, at once: one wins, whichever, and the other is refused.

Both transactions are made to begin before either writes: each is let past the look that its service
takes beforehand, and then they go together. On SQLite and on PostgreSQL.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest
import trio

from kled_coord.builds.transitions import BuildEvent
from kled_coord.identity.users import UserChange
from kled_coord.policy.decide import Caller
from kled_coord.policy.roles import Role
from kled_coord.setting_up import initialize
from kled_coord.store.engine import Store
from kled_coord.store.users import count_owned_workspaces, list_users
from kled_coord.workspaces.lifecycle import Transition
from kled_wire.errors import KledError
from kled_wire.names import WorkspaceRef
from tests.coord.conftest import World

Work = Callable[[], Awaitable[object]]


async def race(store: Store, monkeypatch: pytest.MonkeyPatch, *works: Work) -> list[str]:
    """Run all at once, none writing before every one is about to; the codes of what was refused."""
    about_to, refused = 0, []
    together = trio.Event()
    write = store.write

    async def hold(query: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal about_to
        about_to += 1
        if about_to >= len(works):
            together.set()
        await together.wait()
        return await write(query, *args, **kwargs)

    async def run(work: Work) -> None:
        try:
            await work()
        except KledError as error:
            refused.append(error.code)

    with monkeypatch.context() as patch, trio.fail_after(30):
        patch.setattr(store, "write", hold)
        async with trio.open_nursery() as nursery:
            for work in works:
                nursery.start_soon(run, work)
    return refused


def change(world: World, caller: Caller, name: str, **fields: Any) -> Work:
    return lambda: world.services.users.change(caller, name, UserChange(**fields))


def delete(world: World, caller: Caller, name: str) -> Work:
    return lambda: world.services.users.delete(caller, name)


@pytest.mark.parametrize("how", ["demote", "suspend", "delete"])
async def test_two_owners_cannot_both_put_each_other_out(
    world: World, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    ann, ben = await world.user("ann", "owner"), await world.user("ben", "owner")
    fields: dict[str, dict[str, Any]] = {
        "demote": {"role": Role.MEMBER},
        "suspend": {"suspended": True},
    }

    def put_out(caller: Caller, name: str) -> Work:
        if how == "delete":
            return delete(world, caller, name)
        return change(world, caller, name, **fields[how])

    refused = await race(
        world.services.store, monkeypatch, put_out(ann, "ben"), put_out(ben, "ann")
    )
    assert len(refused) == 1
    left = await world.services.store.read(list_users)
    assert [user.role for user in left if not user.suspended].count("owner") == 1


async def test_changes_of_different_fields_do_not_undo_each_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = await world.user("root", "owner")
    await world.user("alice")
    refused = await race(
        world.services.store,
        monkeypatch,
        change(world, root, "alice", suspended=True),
        change(world, root, "alice", email="a@example.com"),
    )
    alice = await world.services.users.get(root, "alice")
    assert (refused, alice.suspended, alice.email) == ([], True, "a@example.com")


async def template(world: World, root: Caller, make_tar: Any, name: str = "t") -> Any:
    pushed = await world.services.pushing.push(
        root, name, message="", upload=make_tar({"main.tf": b"#"})
    )
    return pushed.version


async def test_a_user_is_not_deleted_while_making_a_workspace(
    world: World, monkeypatch: pytest.MonkeyPatch, make_tar: Any
) -> None:
    root, alice = await world.user("root", "owner"), await world.user("alice")
    version = await template(world, root, make_tar)
    create = world.services.workspaces.create
    refused = await race(
        world.services.store,
        monkeypatch,
        lambda: create(alice, name="dev", version=version, parameters={}),
        delete(world, root, "alice"),
    )
    assert refused in (["user_has_workspaces"], ["token_revoked"])
    names = [user.name for user in await world.services.store.read(list_users)]
    owned = await world.services.store.read(count_owned_workspaces, alice.user_id)
    assert ("alice" in names) == bool(owned)


async def test_a_template_is_not_deleted_while_a_workspace_is_made_of_it(
    world: World, monkeypatch: pytest.MonkeyPatch, make_tar: Any
) -> None:
    root = await world.user("root", "owner")
    version = await template(world, root, make_tar)
    services = world.services
    refused = await race(
        services.store,
        monkeypatch,
        lambda: services.workspaces.create(root, name="dev", version=version, parameters={}),
        lambda: services.templates.delete(root, "t"),
    )
    assert refused in (["template_in_use"], ["template_not_found"])


async def test_two_first_pushes_of_one_name_make_two_versions(
    world: World, monkeypatch: pytest.MonkeyPatch, make_tar: Any
) -> None:
    root = await world.user("root", "owner")
    push = lambda: template(world, root, make_tar)  # noqa: E731 - twice
    assert await race(world.services.store, monkeypatch, push, push) == []
    _, versions = await world.services.templates.get(root, "t")
    assert [version.number for version in versions] == [2, 1]


async def test_a_version_never_goes_to_a_template_that_is_deleted(
    world: World, monkeypatch: pytest.MonkeyPatch, make_tar: Any
) -> None:
    root = await world.user("root", "owner")
    await template(world, root, make_tar)
    services, pushed = world.services, []

    async def push() -> None:
        pushed.append(await template(world, root, make_tar))

    await race(services.store, monkeypatch, push, lambda: services.templates.delete(root, "t"))
    templates = await services.templates.list_all(root)
    # Deleted after the push, or made anew by it.
    assert [t.id for t in templates] in ([], [pushed[0].template_id])


async def suspend(world: World, root: Caller, _alice: Caller) -> None:
    await world.services.users.change(root, "alice", UserChange(suspended=True))


async def revoke(world: World, root: Caller, alice: Caller) -> None:
    await world.services.identity.revoke(root, alice.token_id)


async def demote(world: World, root: Caller, _alice: Caller) -> None:
    await world.services.users.change(root, "alice", UserChange(role=Role.AUDITOR))


@pytest.mark.parametrize("end", [suspend, revoke, demote])
@pytest.mark.parametrize("what", ["token", "workspace", "build", "template", "user"])
async def test_what_was_asked_before_an_end_of_access_is_not_written_after_it(
    world: World, monkeypatch: pytest.MonkeyPatch, make_tar: Any, what: str, end: Any
) -> None:
    root, alice = await world.user("root", "owner"), await world.user("alice", "admin")
    services = world.services
    version = await template(world, root, make_tar)
    if what == "build":
        await services.workspaces.create(alice, name="dev", version=version, parameters={})
        await finish_build(world)
    asked = {
        "token": lambda: services.identity.create_token(
            alice, name="x", scopes=("all",), lifetime_s=None
        ),
        "workspace": lambda: services.workspaces.create(
            alice, name="new", version=version, parameters={}
        ),
        "build": lambda: services.builds.create(
            alice, WorkspaceRef(name="dev"), Transition.STOP, version=None, orphan=False
        ),
        "template": lambda: template(world, alice, make_tar, "other"),
        "user": lambda: services.users.create(
            alice, name="x", role=Role.MEMBER, password="long-enough", email=None
        ),
    }[what]
    write = services.store.write

    async def late(query: Any, *args: Any, **kwargs: Any) -> Any:
        monkeypatch.setattr(services.store, "write", write)
        await end(world, root, alice)
        return await write(query, *args, **kwargs)

    monkeypatch.setattr(services.store, "write", late)
    with pytest.raises(KledError) as refused:
        await asked()
    assert refused.value.code in {"token_revoked", "role_changed"}


async def finish_build(world: World) -> None:
    claimed = await world.services.queue.claim("w")
    assert claimed is not None
    await world.services.queue.end(claimed.build.id, BuildEvent.SUCCEEDED, worker="w")


async def test_a_password_that_was_changed_while_it_was_checked_lets_nobody_in(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = await world.user("root", "owner")
    await world.user("alice")
    services = world.services
    write = services.store.write

    async def late(query: Any, *args: Any, **kwargs: Any) -> Any:
        monkeypatch.setattr(services.store, "write", write)
        await services.users.change(root, "alice", UserChange(password="another-one"))
        return await write(query, *args, **kwargs)

    monkeypatch.setattr(services.store, "write", late)
    with pytest.raises(KledError) as refused:
        await services.logins.login(
            username="alice", password="alice-password", token_name="t", address="192.0.2.1"
        )
    assert refused.value.code == "login_failed"


async def test_a_workspace_deleted_meanwhile_gets_no_build(
    world: World, monkeypatch: pytest.MonkeyPatch, make_tar: Any
) -> None:
    root, services = await world.user("root", "owner"), world.services
    version = await template(world, root, make_tar)
    await services.workspaces.create(root, name="dev", version=version, parameters={})
    await finish_build(world)
    ref = WorkspaceRef(name="dev")
    write = services.store.write

    async def late(query: Any, *args: Any, **kwargs: Any) -> Any:
        monkeypatch.setattr(services.store, "write", write)
        await services.builds.create(root, ref, Transition.DELETE, version=None, orphan=True)
        await finish_build(world)
        return await write(query, *args, **kwargs)

    monkeypatch.setattr(services.store, "write", late)
    with pytest.raises(KledError) as refused:
        await services.builds.create(root, ref, Transition.START, version=None, orphan=False)
    assert refused.value.code == "workspace_not_found"


async def test_a_coordinator_that_is_initialised_twice_at_once_has_one_first_owner(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, done = world.services.store, []

    async def begin(name: str) -> None:
        done.append(await initialize(world.services, name, new_code=False))

    names = ("alice", "bob", "carol", "dave")
    assert not await race(store, monkeypatch, *(partial(begin, name) for name in names))
    (first,) = [each for each in done if each.code is not None]
    assert [user.name for user in await store.read(list_users)] == [first.user]
    assert {each.user for each in done} == {first.user}
