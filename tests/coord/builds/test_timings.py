"""How long a build took, from its place in the queue to the scripts of its agents."""

from __future__ import annotations

import pytest

from kled_coord.builds.transitions import BuildEvent
from kled_coord.store.records import ScriptRun
from kled_coord.store.scripts import put_script_run
from kled_coord.workspaces.agents import AgentFacts
from kled_wire.errors import NotFoundError
from tests.coord.builds.steps import alices_workspace, create, log_of, template, working

STEPS = [
    {"kind": "stage", "name": "init", "action": "", "started_s": 0.5, "duration_s": 2.0},
    {"kind": "resource", "name": "a.b", "action": "create", "started_s": 3.0, "duration_s": None},
]


async def seen(world, agent_id) -> None:
    facts = AgentFacts(version="1", hostname="h", os="linux", arch="x", address="::1")
    await world.services.agents.connected(agent_id, facts)


async def test_every_wait_of_a_start_is_measured(world, make_tar) -> None:
    await template(world, make_tar)
    alice, services = await world.user("alice"), world.services
    created = await create(world, alice)
    agent_id, _ = await services.agents.ensure(created.workspace.id, "main")
    world.clock.advance(2)
    build = (await services.queue.claim("w1")).build
    world.clock.advance(10)
    measured = [{**step, "failed": False} for step in STEPS]
    await services.queue.end(build.id, BuildEvent.SUCCEEDED, worker="w1", timings=measured)
    world.clock.advance(3)
    await seen(world, agent_id)
    run = ScriptRun(
        agent_id=agent_id,
        run="r1",
        build_id=build.id,
        script="startup",
        name="Startup script",
        stage="start",
        state="failed",
        exit_code=1,
        note="",
        blocks_login=False,
        position=0,
        started_at=world.clock(),
        duration_s=0.25,
    )
    await services.store.write(put_script_run, run)
    world.clock.advance(60)
    await seen(world, agent_id)  # its link was cut: that is no second arrival
    found = await services.builds.timings(alice, build.id)
    assert [(s.kind, s.name, s.action, s.started_s, s.duration_s, s.failed) for s in found] == [
        ("queue", "queue", "", 0.0, 2.0, False),
        ("stage", "init", "", 2.5, 2.0, False),
        ("resource", "a.b", "create", 5.0, None, False),
        ("agent", "main", "connect", 12.0, 3.0, False),
        ("script", "Startup script", "start", 15.0, 0.25, True),
    ]
    with pytest.raises(NotFoundError):
        await services.builds.timings(await world.user("bob"), build.id)


async def test_an_agent_that_comes_long_after_a_start_is_not_of_it(world, make_tar) -> None:
    await template(world, make_tar)
    alice, services = await world.user("alice"), world.services
    created = await create(world, alice)
    agent_id, _ = await services.agents.ensure(created.workspace.id, "main")
    build = (await services.queue.claim("w1")).build
    await services.queue.end(build.id, BuildEvent.SUCCEEDED, worker="w1")
    world.clock.advance(3600)
    await seen(world, agent_id)
    assert [step.kind for step in await services.builds.timings(alice, build.id)] == ["queue"]


async def test_what_a_run_measures_is_kept_also_where_it_fails(world, make_tar, tmp_path) -> None:
    alice, created = await alices_workspace(world, make_tar)
    world.terraform.timings = [{**STEPS[0], "failed": True}]
    world.terraform.error = ValueError("a bug")
    async with working(world, tmp_path):
        await log_of(world, alice, created.latest_build.id)
    steps = await world.services.builds.timings(alice, created.latest_build.id)
    assert [(step.name, step.failed) for step in steps] == [("queue", False), ("init", True)]
