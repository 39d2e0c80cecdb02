"""A workspace that has several agents."""

from __future__ import annotations

from functools import partial

import pytest

from kled_wire.errors import ConflictError
from tests.coord.builds.steps import create, log_of, template, working


async def test_of_several_agents_main_is_meant_and_none_by_chance(
    lite_world, make_tar, tmp_path
) -> None:
    world, services = lite_world, lite_world.services
    await template(world, make_tar)
    alice = await world.user("alice")
    created = await create(world, alice)
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
    for meant in (
        partial(workspaces.agent_of, created.workspace.id),
        partial(services.agent_wait.wait, created.workspace.id, alice.user_id),
    ):
        with pytest.raises(ConflictError, match="db, web") as caught:
            await meant()
        assert caught.value.code == "agent_ambiguous"


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
