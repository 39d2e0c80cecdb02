"""Quotas of workspaces and waiting builds, decided where they are written."""

from __future__ import annotations

from dataclasses import replace

import pytest
import trio

from kled_coord.identity.users import UserChange
from kled_coord.workspaces.quotas import UserQuotas
from kled_wire.errors import ConflictError, ForbiddenError, LimitError
from tests.coord.builds.steps import build, create, template


def limit(world, **quotas: int) -> None:
    world.services.workspaces.quotas = UserQuotas(**quotas)


async def end_one(world) -> None:
    queue = world.services.queue
    claimed = await queue.claim("w")
    await queue.end(claimed.build.id, "succeeded", worker="w")


async def test_a_user_has_so_many_workspaces_and_no_more(lite_world, make_tar) -> None:
    world = lite_world
    await template(world, make_tar)
    alice, ben = await world.user("alice"), await world.user("ben")
    limit(world, workspaces=2)
    await create(world, alice, "one")
    await create(world, alice, "two")
    with pytest.raises(ConflictError) as caught:
        await create(world, alice, "three")
    assert (caught.value.code, caught.value.message) == (
        "workspace_limit",
        "alice has 2 workspaces, and may have 2",
    )
    assert "kled user update alice --max-workspaces N" in (caught.value.hint or "")
    await create(world, ben, "one")
    for _ in range(3):
        await end_one(world)
    await build(world, alice, "delete", "one", orphan=True)
    await end_one(world)
    await create(world, alice, "three")


async def test_an_admin_sets_another_limit_for_one_user(lite_world, make_tar) -> None:
    world = lite_world
    await template(world, make_tar)
    users = world.services.users
    root, alice = await world.user("root", "admin"), await world.user("alice")
    limit(world, workspaces=1)
    with pytest.raises(ForbiddenError):
        await users.change(alice, "alice", UserChange(max_workspaces=0))
    await users.change(root, "alice", UserChange(max_workspaces=2))
    await create(world, alice, "one")
    await create(world, alice, "two")
    await users.change(root, "alice", UserChange(max_workspaces=0))
    await create(world, alice, "three")
    back = await users.change(root, "alice", UserChange(max_workspaces="default"))
    assert back.max_workspaces is None
    with pytest.raises(ConflictError):
        await create(world, alice, "four")


async def test_waiting_builds_are_limited_and_running_ones_are_not_counted(
    lite_world, make_tar
) -> None:
    world = lite_world
    await template(world, make_tar)
    alice = await world.user("alice")
    limit(world, waiting_builds=1)
    await create(world, alice, "one")
    for _ in range(2):
        with pytest.raises(LimitError) as caught:
            await create(world, alice, "two")
    assert (caught.value.code, caught.value.retry_after_s) == ("waiting_build_limit", 10)
    await end_one(world)
    await create(world, alice, "two")
    with pytest.raises(LimitError):
        await build(world, alice, "stop", "one")
    claimed = await world.services.queue.claim("w")
    assert claimed is not None
    await build(world, alice, "stop", "one")


async def test_two_at_once_do_not_both_get_the_last_place(world, make_tar) -> None:
    await template(world, make_tar)
    alice = await world.user("alice")
    limit(world, workspaces=1)
    refused = []

    async def attempt(name: str) -> None:
        try:
            await create(world, alice, name)
        except ConflictError as error:
            refused.append(error.code)

    async with trio.open_nursery() as nursery:
        for name in ("one", "two", "three"):
            nursery.start_soon(attempt, name)
    assert refused == ["workspace_limit"] * 2


async def test_limits_through_the_api(api, make_tar) -> None:
    root, alice = await api.login("root", "owner"), await api.login("alice")
    await template(api.world, make_tar)
    api.world.services.workspaces.quotas = replace(UserQuotas(), workspaces=1, waiting_builds=5)
    changed = await api.client.patch(
        "/api/v1/users/alice",
        headers=root,
        json={"max_workspaces": "default", "max_waiting_builds": 1},
    )
    assert (changed.json()["max_workspaces"], changed.json()["max_waiting_builds"]) == (None, 1)
    bad = await api.client.patch("/api/v1/users/alice", headers=root, json={"max_workspaces": -1})
    assert bad.status_code == 422
    codes = []
    for name in ("one", "two"):
        body = {"name": name, "template": "plain", "parameters": {"size": "1"}}
        answer = await api.client.post("/api/v1/workspaces", headers=alice, json=body)
        codes.append(answer.status_code)
    assert codes == [201, 409]
    await api.client.patch("/api/v1/users/alice", headers=root, json={"max_workspaces": 0})
    answer = await api.client.post("/api/v1/workspaces", headers=alice, json=body)
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "10")
