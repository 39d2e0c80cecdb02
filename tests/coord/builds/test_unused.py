"""Workspaces that nobody uses are stopped when their template says so, and only these."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kled_coord.templates.edits import TemplateEdit
from kled_wire.control.messages import Report
from tests.coord.builds.steps import create, status, template, worker


@pytest.fixture
async def running(lite_world, make_tar, tmp_path):
    """A workspace of alice's that runs, and is stopped after an hour without use."""
    await template(lite_world, make_tar)
    boss = await lite_world.user("admin", "admin")
    edit = TemplateEdit(stop_after_s=3600)
    await lite_world.services.templates.edit(boss, "plain", edit)
    made = await create(lite_world, await lite_world.user("alice"))
    await worker(lite_world, tmp_path)._run(await lite_world.services.queue.claim("w1"))
    assert await status(lite_world, made.workspace) == "running"
    return made.workspace


async def stopped(world, workspace) -> bool:
    await world.services.unused.stop_all()
    return await status(world, workspace) == "pending"


async def test_one_that_nobody_uses_is_stopped_on_its_owners_behalf(lite_world, running) -> None:
    lite_world.clock.advance(3599)
    assert not await stopped(lite_world, running)
    lite_world.clock.advance(1)
    assert await stopped(lite_world, running)
    details = await lite_world.services.workspaces.get(running.id)
    assert details.latest_build.transition == "stop"
    assert details.latest_build.created_by == "alice"
    assert details.latest_build.parameters == {"size": "2"}
    assert await stopped(lite_world, running)  # one stop is enough
    audit = await lite_world.services.audit.newest(1)
    assert (audit[0].action, audit[0].user_name) == ("workspace.stop", None)


async def test_use_begins_its_time_anew(lite_world, running) -> None:
    services, clock = lite_world.services, lite_world.clock
    clock.advance(3000)
    await services.workspaces.touch(running.id)
    clock.advance(3000)
    assert not await stopped(lite_world, running)
    session = await services.sessions.opened(
        workspace_id=running.id, user_id=running.owner_id, kind="ssh", client_address=""
    )
    clock.advance(9000)
    assert not await stopped(lite_world, running)  # somebody is in it
    await services.sessions.closed(session, bytes_to_agent=0, bytes_to_client=0, reason="x")
    clock.advance(3599)
    assert not await stopped(lite_world, running)
    clock.advance(1)
    assert await stopped(lite_world, running)


async def test_what_the_agent_knows_to_be_in_use_goes_on(lite_world, running) -> None:
    lite_world.clock.advance(9000)
    (agent,) = (await lite_world.services.workspaces.get(running.id)).agents
    registry = lite_world.registry
    registry.connect(agent.id, lite_world.clock())
    busy = Report(memory_total_bytes=1, memory_used_bytes=1, streams=1)
    registry.states[agent.id] = replace(registry.states[agent.id], report=busy)
    assert not await stopped(lite_world, running)
    registry.states[agent.id] = replace(registry.states[agent.id], report=None)
    assert await stopped(lite_world, running)


async def test_never_is_the_default(lite_world, running) -> None:
    boss = await lite_world.user("second", "admin")
    edit = TemplateEdit(stop_after_s="never")
    await lite_world.services.templates.edit(boss, "plain", edit)
    lite_world.clock.advance(10**7)
    assert not await stopped(lite_world, running)
