"""A workspace that has several agents."""

from __future__ import annotations

from functools import partial

import pytest
import sqlalchemy as sa
import trio

from kled_coord.policy.actions import Action
from kled_coord.store.schema import workspaces as table
from kled_wire.errors import ConflictError, InputError
from kled_wire.names import parse_workspace_ref
from tests.coord.builds.steps import alices_workspace, create, log_of, template, working


async def test_of_several_agents_main_is_meant_and_none_by_chance(
    lite_world, make_tar, tmp_path
) -> None:
    world, services = lite_world, lite_world.services
    alice, created = await alices_workspace(world, make_tar)
    agents, workspaces = services.agents, services.workspaces
    first, _ = await agents.ensure(created.workspace.id, "db")
    async with working(world, tmp_path):
        await log_of(world, alice, created.latest_build.id)
    assert (await workspaces.agent_of(created.workspace.id)).name == "main"
    details = await workspaces.get(created.workspace.id)
    assert ({a.name for a in details.agents}, details.agent.name) == ({"db", "main"}, "main")
    await agents.release(created.workspace.id, details.agent.id)
    await agents.ensure(created.workspace.id, "web")
    world.registry.connect(first, world.clock())
    assert (await workspaces.get(created.workspace.id)).agent is None
    with pytest.raises(ConflictError, match="db, web") as caught:
        await workspaces.agent_of(created.workspace.id)
    assert caught.value.code == "agent_ambiguous"
    # Who waits for the workspace then waits for all of them.
    wait = partial(services.agent_wait.wait, created.workspace.id, alice.user_id)
    with trio.move_on_after(0.05) as waited:
        await wait()
    assert waited.cancelled_caught
    await wait("db")
    web = await workspaces.agent_of(created.workspace.id, "web")
    world.registry.connect(web.id, world.clock())
    with trio.fail_after(5):
        await wait()


async def test_an_agent_is_named_with_its_workspace_and_an_old_name_comes_first(
    lite_world, make_tar
) -> None:
    world, workspaces = lite_world, lite_world.services.workspaces
    alice, created = await alices_workspace(world, make_tar)
    read = partial(workspaces.locate, alice, action=Action.WORKSPACE_READ)
    found, asked = await read(parse_workspace_ref("side--dev"))
    assert (found.id, asked) == (created.workspace.id, "side")
    with pytest.raises(InputError, match="side--dev"):
        await create(world, alice, "side--dev")
    # Made before the mark was kept for this.
    old = await create(world, alice, "old")
    rename = sa.update(table).where(table.c.id == old.workspace.id).values(name="side--dev")
    await world.services.store.write(lambda connection: connection.execute(rename))
    assert (await read(parse_workspace_ref("side--dev")))[0].id == old.workspace.id
    assert (await read(parse_workspace_ref("main--side--dev")))[1] == "main"


async def test_agents_are_called_as_applied_and_those_no_state_knows_are_revoked(
    world, make_tar
) -> None:
    await template(world, make_tar)
    created = await create(world, await world.user("alice"))
    agents, workspace_id = world.services.agents, created.workspace.id
    ids = {name: (await agents.ensure(workspace_id, name))[0] for name in ("a", "b", "unnamed-1")}
    await agents.settle(workspace_id, {ids["a"]: "b", ids["b"]: "a"})
    found = (await world.services.workspaces.get(workspace_id)).agents
    assert {agent.name: agent.id for agent in found} == {"b": ids["a"], "a": ids["b"]}
