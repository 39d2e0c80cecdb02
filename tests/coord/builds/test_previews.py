"""Plans without a build: what they are asked with, and who may ask."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kled_coord.builds.transitions import BuildEvent
from kled_coord.terraform.output.changes import PlannedChanges, ResourceChange
from kled_coord.workspaces.lifecycle import Transition
from kled_wire.errors import ConflictError, InputError, KledError, NotFoundError
from kled_wire.names import parse_workspace_ref
from tests.coord.builds.steps import alices_workspace

DEV = parse_workspace_ref("dev")


async def made(world, make_tar):
    """Alice with the workspace dev, which runs."""
    alice, created = await alices_workspace(world, make_tar)
    build = (await world.services.queue.claim("w1")).build
    await world.services.queue.end(build.id, BuildEvent.SUCCEEDED, worker="w1", outputs={})
    return alice, created.workspace


async def test_a_plan_is_asked_as_the_build_would_be_and_queues_none(world, make_tar) -> None:
    alice, workspace = await made(world, make_tar)
    await world.services.states.adopt(workspace.id, "bld_1", b'{"version": 4}')
    planned = PlannedChanges(changes=(ResourceChange(address="a.b", action="create"),), drift=())
    world.terraform.planned = planned
    previews = world.services.previews
    given = {"size": "9"}
    assert await previews.plan(alice, DEV, Transition.START, parameters=given) == planned
    inquiry, told = world.terraform.plans[-1]
    assert {name: value.text for name, value in inquiry.variables.items()} == given
    assert (inquiry.state, inquiry.destroy, inquiry.refresh_only) == (
        b'{"version": 4}',
        False,
        False,
    )
    assert (told["transition"], told["parameters"], told["previous_parameters"]) == (
        *("start", given),
        {"size": "2"},
    )
    await previews.plan(alice, DEV, Transition.DELETE)
    assert world.terraform.plans[-1][0].destroy
    assert len(await world.services.builds.list_for(alice, DEV)) == 1
    found = (await world.services.workspaces.get(workspace.id)).workspace
    assert (found.status, found.parameters) == ("running", {"size": "2"})


async def test_drift_looks_at_the_workspace_as_it_is(world, make_tar) -> None:
    alice, workspace = await made(world, make_tar)
    await world.services.previews.drift(alice, DEV)
    inquiry, told = world.terraform.plans[-1]
    assert (inquiry.refresh_only, told["transition"], told["name"]) == (True, "start", "dev")
    stopped = replace(workspace, status="stopped")
    await world.services.previews.of_now(alice, stopped)
    assert world.terraform.plans[-1][1]["transition"] == "stop"


async def test_a_plan_is_refused_as_the_build_would_be(world, make_tar) -> None:
    alice, _ = await made(world, make_tar)
    previews = world.services.previews
    with pytest.raises(InputError, match="no parameter"):
        await previews.plan(alice, DEV, Transition.START, parameters={"sise": "1"})
    with pytest.raises(NotFoundError):
        await previews.plan(await world.user("bob"), parse_workspace_ref("alice/dev"), "stop")
    look = await world.user("look", "auditor")
    with pytest.raises(KledError, match="auditor"):
        await previews.drift(look, parse_workspace_ref("alice/dev"))
    await world.services.builds.create(alice, DEV, Transition.STOP, version=None, orphan=False)
    with pytest.raises(ConflictError) as caught:
        await previews.plan(alice, DEV, Transition.START)
    assert caught.value.code == "build_active"
