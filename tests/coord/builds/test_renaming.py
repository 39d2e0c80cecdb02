"""Another name for a workspace, where Terraform has nothing against it."""

from __future__ import annotations

import pytest

from kled_coord.builds.transitions import BuildEvent
from kled_coord.policy.actions import Action
from kled_coord.terraform.output.changes import PlannedChanges, ResourceChange
from kled_wire.errors import ConflictError, ForbiddenError, InputError, NotFoundError
from kled_wire.names import parse_workspace_ref
from tests.coord.builds.steps import build, create, template

DEV = parse_workspace_ref("dev")
STATE = b'{"version": 4, "resources": [{"mode": "managed", "type": "a", "name": "b", '
STATE += b'"instances": [{"attributes": {"id": "1"}}]}]}'


async def stopped(world, make_tar):
    """Alice with the workspace dev, which is stopped and has something in its state."""
    await template(world, make_tar)
    alice, queue = await world.user("alice"), world.services.queue
    created = await create(world, alice)
    for transition in (None, "stop"):
        if transition:
            await build(world, alice, transition)
        claimed = (await queue.claim("w1")).build
        await queue.end(claimed.id, BuildEvent.SUCCEEDED, worker="w1", outputs={})
    await world.services.states.adopt(created.workspace.id, claimed.id, STATE)
    return alice, created.workspace


async def refused(world, caller, name: str, ref=DEV) -> str:
    with pytest.raises(ConflictError) as caught:
        await world.services.renaming.rename(caller, ref, name)
    return caught.value.code


async def test_a_rename_is_planned_under_the_new_name_and_recorded(world, make_tar) -> None:
    alice, workspace = await stopped(world, make_tar)
    renamed, changes = await world.services.renaming.rename(alice, DEV, "lab")
    assert (renamed.name, list(changes)) == ("lab", [])
    assert [told["name"] for _, told in world.terraform.plans] == ["lab", "dev"]
    assert world.terraform.plans[0][1]["transition"] == "stop"
    found = (await world.services.workspaces.get(workspace.id)).workspace
    assert found.name == "lab"
    with pytest.raises(NotFoundError):
        await world.services.renaming.rename(alice, DEV, "other")
    rows = await world.services.audit.newest(20)
    assert (Action.WORKSPACE_RENAME, "dev to lab") in [(row.action, row.detail) for row in rows]


async def test_nothing_is_renamed_where_that_destroys_or_replaces(world, make_tar) -> None:
    alice, workspace = await stopped(world, make_tar)
    for action in ("delete", "replace"):
        change = ResourceChange(address="kata_volume.home", action=action)
        world.terraform.planned = PlannedChanges(changes=(change,), drift=())
        assert await refused(world, alice, "lab") == "rename_destroys"
    assert (await world.services.workspaces.get(workspace.id)).workspace.name == "dev"


async def test_a_name_that_is_taken_or_none_is_refused_before_any_plan(world, make_tar) -> None:
    alice, _ = await stopped(world, make_tar)
    await create(world, alice, "lab")
    assert await refused(world, alice, "lab") == "workspace_exists"
    assert await refused(world, alice, "dev") == "workspace_exists"
    with pytest.raises(InputError):
        await world.services.renaming.rename(alice, DEV, "Not A Name")
    assert world.terraform.plans == []


async def test_what_runs_or_is_being_built_keeps_its_name(world, make_tar) -> None:
    alice, _ = await stopped(world, make_tar)
    queued = await build(world, alice, "start")
    assert await refused(world, alice, "lab") == "build_active"
    await world.services.queue.claim("w1")
    await world.services.queue.end(queued.id, BuildEvent.SUCCEEDED, worker="w1")
    assert await refused(world, alice, "lab") == "workspace_running"


async def test_a_build_that_ran_while_it_was_planned_refuses(world, make_tar) -> None:
    alice, _ = await stopped(world, make_tar)
    plan = world.services.previews.plan_build

    async def meanwhile(inquiry, host):
        if len(world.terraform.plans) == 1:
            queued = await build(world, alice, "stop")
            await world.services.queue.claim("w1")
            await world.services.queue.end(queued.id, BuildEvent.SUCCEEDED, worker="w1")
        return await plan(inquiry, host)

    world.services.previews.plan_build = meanwhile
    assert await refused(world, alice, "lab") == "build_active"


async def test_a_rename_asks_the_policy(world, make_tar) -> None:
    await stopped(world, make_tar)
    ref = parse_workspace_ref("alice/dev")
    with pytest.raises(NotFoundError):
        await world.services.renaming.rename(await world.user("bob"), ref, "lab")
    with pytest.raises(ForbiddenError):
        await world.services.renaming.rename(await world.user("look", "auditor"), ref, "lab")
