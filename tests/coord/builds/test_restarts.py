"""A restart: a stop, and once that has succeeded a start with the values that were given."""

from __future__ import annotations

import pytest

from kled_coord.builds.transitions import BuildEvent
from kled_coord.policy.actions import Action
from kled_coord.workspaces.lifecycle import Transition
from kled_wire.errors import ForbiddenError, InputError, KledError
from kled_wire.names import parse_workspace_ref
from tests.coord.builds.steps import alices_workspace, create, log_of, status, template, working


async def restart(world, caller, **given: str):
    return await world.services.builds.create(
        caller,
        parse_workspace_ref("dev"),
        Transition.START,
        version=None,
        orphan=False,
        parameters=given,
        restart=True,
    )


async def builds_of(world, caller):
    return await world.services.builds.list_for(caller, parse_workspace_ref("dev"))


async def test_a_restart_stops_then_starts_with_what_was_given(world, make_tar, tmp_path) -> None:
    alice, created = await alices_workspace(world, make_tar)
    async with working(world, tmp_path):
        await log_of(world, alice, created.latest_build.id)
        stop = await restart(world, alice, size="3")
        assert (stop.transition, stop.parameters) == ("stop", {"size": "2"})
        await log_of(world, alice, stop.id)
        start = (await builds_of(world, alice))[0]
        assert (start.number, start.transition, start.created_by) == (3, "start", "alice")
        assert (await log_of(world, alice, start.id))[-1].status == "succeeded"
    assert await status(world, created.workspace) == "running"
    assert [job.build.transition for job in world.terraform.jobs] == ["start", "stop", "start"]
    assert world.terraform.jobs[-1].variables["size"].text == "3"


async def test_a_wrong_parameter_stops_nothing(world, make_tar, tmp_path) -> None:
    alice, created = await alices_workspace(world, make_tar)
    async with working(world, tmp_path):
        await log_of(world, alice, created.latest_build.id)
        with pytest.raises(InputError):
            await restart(world, alice, sise="3")
    assert len(await builds_of(world, alice)) == 1


async def test_nothing_is_started_after_a_stop_that_failed(world, make_tar, tmp_path) -> None:
    alice, created = await alices_workspace(world, make_tar)
    async with working(world, tmp_path):
        await log_of(world, alice, created.latest_build.id)
        world.terraform.error = KledError("terraform_failed", "no")
        stop = await restart(world, alice, size="3")
        assert (await log_of(world, alice, stop.id))[-1].status == "failed"
        assert len(await builds_of(world, alice)) == 2
        # Its retry goes on as a restart.
        world.terraform.error = None
        again = await world.services.builds.retry(alice, stop.id)
        await log_of(world, alice, again.id)
        start = (await builds_of(world, alice))[0]
        assert (start.transition, start.parameters) == ("start", {"size": "3"})


async def test_who_cancels_a_stop_that_is_over_wants_no_start(world, make_tar) -> None:
    await template(world, make_tar)
    alice = await world.user("alice")
    await create(world, alice)
    queue = world.services.queue
    first = await queue.claim("w1")
    await queue.end(first.build.id, BuildEvent.SUCCEEDED, worker="w1")
    stop = await restart(world, alice)
    await queue.claim("w1")
    await world.services.builds.cancel(alice, stop.id)
    ended = await queue.end(stop.id, BuildEvent.SUCCEEDED, worker="w1")
    assert ended.status == "succeeded"
    assert len(await builds_of(world, alice)) == 2


async def test_who_may_only_look_restarts_nothing(world, make_tar) -> None:
    await template(world, make_tar)
    alice, look = await world.user("alice"), await world.user("look", "auditor")
    await create(world, alice)
    with pytest.raises(ForbiddenError):
        await world.services.builds.create(
            look,
            parse_workspace_ref("alice/dev"),
            Transition.START,
            version=None,
            orphan=False,
            restart=True,
        )
    rows = await world.services.audit.newest(10)
    assert (Action.WORKSPACE_START, False) in [(row.action, row.allowed) for row in rows]
