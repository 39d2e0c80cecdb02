"""Workspaces and builds through real workers and a fake Terraform, on both databases."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

import pytest
import trio

from kled_coord.builds.logs import BuildProgress, End
from kled_coord.builds.states.backend import StateLockedError
from kled_coord.builds.transitions import BuildEvent
from kled_coord.policy.actions import Action
from kled_coord.store.agents import agents_of
from kled_coord.store.records import LogLine
from kled_wire.errors import (
    ConflictError,
    InputError,
    KledError,
    NotFoundError,
    UnauthenticatedError,
    UnavailableError,
)
from kled_wire.names import parse_workspace_ref
from tests.coord.builds.steps import (
    alices_workspace,
    build,
    create,
    log_of,
    status,
    template,
    working,
)


async def test_create_stop_start_delete(world, make_tar, tmp_path) -> None:
    alice, created = await alices_workspace(world, make_tar)
    assert created.workspace.status == "pending"
    async with working(world, tmp_path):
        log = await log_of(world, alice, created.latest_build.id)
        assert await status(world, created.workspace) == "running"
        agent_id = (await world.services.workspaces.agent_of(created.workspace.id)).id
        world.registry.connect(agent_id, world.clock())
        for transition, after in (("stop", "stopped"), ("start", "running"), ("delete", "deleted")):
            queued = await build(world, alice, transition)
            assert (await log_of(world, alice, queued.id))[-1] == End(
                status="succeeded", error=None
            )
            assert await status(world, created.workspace) == after
    lines = [item.text for item in log if isinstance(item, LogLine)]
    assert lines == ["start began", "done"]
    assert BuildProgress(done=1, total=1, message="apply") in log
    assert log[-1] == End(status="succeeded", error=None)
    assert world.registry.dropped == [(agent_id, "the workspace was deleted")]
    assert await world.services.store.read(agents_of, [created.workspace.id]) == []
    with pytest.raises(NotFoundError):
        await build(world, alice, "start")
    await create(world, alice)


async def test_the_agent_keeps_its_identity_over_builds(world, make_tar, tmp_path) -> None:
    await template(world, make_tar)
    alice = await world.user("alice")
    workspace = (await create(world, alice)).workspace
    agents = world.services.agents
    first = await agents.ensure(workspace.id, "main")
    assert await agents.ensure(workspace.id, "main") == first
    agent = await world.services.identity.authenticate_agent(first[1])
    assert agent.id == first[0]
    await agents.release(workspace.id, agent.id)
    await agents.release(workspace.id, agent.id)
    with pytest.raises(UnauthenticatedError) as caught:
        await world.services.identity.authenticate_agent(first[1])
    assert caught.value.code == "token_revoked"
    assert await agents.ensure(workspace.id, "main") != first


async def test_two_workspaces_of_one_name_are_refused(world, make_tar) -> None:
    await template(world, make_tar)
    alice, bob = await world.user("alice"), await world.user("bob")
    await create(world, alice)
    with pytest.raises(ConflictError) as caught:
        await create(world, alice)
    assert caught.value.code == "workspace_exists"
    await create(world, bob)


async def test_a_foreign_workspace_is_not_found_not_forbidden(world, make_tar) -> None:
    await template(world, make_tar)
    alice, bob = await world.user("alice"), await world.user("bob")
    created = await create(world, alice)
    services = world.services
    for ref in ("dev.alice", created.workspace.id):
        with pytest.raises(NotFoundError) as caught:
            await services.workspaces.resolve(bob, parse_workspace_ref(ref), Action.WORKSPACE_READ)
        assert caught.value.message == f"there is no workspace {ref}"
    with pytest.raises(NotFoundError) as caught:
        await services.builds.get(bob, created.latest_build.id)
    assert caught.value.code == "build_not_found"
    assert await services.workspaces.list_for(bob, "*") == []
    for name in ("alice", "nobody"):  # in the same words: names of users are no member's business
        with pytest.raises(NotFoundError, match=f"there is no user {name} that you may see"):
            await services.workspaces.list_for(bob, name)


async def test_a_second_build_waits_for_the_first(world, make_tar) -> None:
    await template(world, make_tar)
    alice = await world.user("alice")
    await create(world, alice)
    with pytest.raises(ConflictError) as caught:
        await build(world, alice, "stop")
    assert caught.value.code == "build_active"


async def test_a_failed_build_says_why(world, make_tar, tmp_path) -> None:
    alice, created = await alices_workspace(world, make_tar)
    world.terraform.error = KledError("terraform_failed", "no such image", hint="build it")
    async with working(world, tmp_path):
        log = await log_of(world, alice, created.latest_build.id)
        assert log[-1] == End(status="failed", error="no such image (build it)")
        assert await status(world, created.workspace) == "failed"
        world.terraform.error = RuntimeError("a bug")
        queued = await build(world, alice, "start")
        log = await log_of(world, alice, queued.id)
        assert "inside the coordinator" in log[-1].error
        world.terraform.error = None
        queued = await build(world, alice, "start")
        assert (await log_of(world, alice, queued.id))[-1].status == "succeeded"


async def test_a_running_build_is_canceled(world, make_tar, tmp_path) -> None:
    alice, created = await alices_workspace(world, make_tar)
    world.terraform.hang = True
    async with working(world, tmp_path):
        await world.terraform.started.wait()
        canceling = await world.services.builds.cancel(alice, created.latest_build.id)
        assert canceling.status == "canceling"
        log = await log_of(world, alice, created.latest_build.id)
    assert log[-1].status == "canceled"
    assert await status(world, created.workspace) == "canceled"
    with pytest.raises(ConflictError) as caught:
        await world.services.builds.cancel(alice, created.latest_build.id)
    assert caught.value.code == "build_not_active"


async def test_canceling_a_queued_stop_leaves_the_workspace_running(
    world, make_tar, tmp_path
) -> None:
    alice, created = await alices_workspace(world, make_tar)
    async with working(world, tmp_path):
        await log_of(world, alice, created.latest_build.id)
    queued = await build(world, alice, "stop")
    await world.services.builds.cancel(alice, queued.id)
    assert await status(world, created.workspace) == "running"


async def test_a_build_is_claimed_by_one_of_many_workers(world, make_tar) -> None:
    await template(world, make_tar)
    alice = await world.user("alice")
    names = [f"ws{number}" for number in range(6)]
    for name in names:
        await create(world, alice, name)
    claimed = []

    async def claim(number: int) -> None:
        while (found := await world.services.queue.claim(f"w{number}")) is not None:
            claimed.append(found.build.id)

    async with trio.open_nursery() as nursery:
        for number in range(4):
            nursery.start_soon(claim, number)
    assert len(claimed) == len(set(claimed)) == len(names)


async def pass_time(world, seconds: int) -> None:
    """The coordinator looks every second."""
    for _ in range(seconds):
        world.clock.advance(1)
        await world.services.queue.expire()


async def test_a_dead_workers_build_fails_with_the_reason_and_its_lock_is_dropped(
    world, make_tar
) -> None:
    alice, created = await alices_workspace(world, make_tar)
    queue, states = world.services.queue, world.services.states
    claimed = await queue.claim("dead")
    writer = await states.authenticate(created.workspace.id, claimed.build.id, claimed.secret)
    await states.lock(writer, b'{"ID": "lock-1"}')
    await queue.expire()
    # A step of the wall clock is nothing that passed.
    world.clock.now += timedelta(hours=1)
    await pass_time(world, 29)
    assert await status(world, created.workspace) == "starting"
    assert (await queue.renew(claimed.build.id, "dead")).status == "running"
    assert await queue.renew(claimed.build.id, "another") is None
    await queue.expire()
    await pass_time(world, 29)
    assert await status(world, created.workspace) == "starting"
    world.clock.now -= timedelta(hours=3)
    await pass_time(world, 2)
    ended = await world.services.builds.get(alice, claimed.build.id)
    assert (ended.status, "worker" in ended.error) == ("failed", True)
    with pytest.raises(UnauthenticatedError):
        await states.authenticate(created.workspace.id, claimed.build.id, claimed.secret)
    with pytest.raises(ConflictError):
        await queue.end(claimed.build.id, BuildEvent.SUCCEEDED, worker="dead")
    await build(world, alice, "start")
    again = await queue.claim("alive")
    writer = await states.authenticate(created.workspace.id, again.build.id, again.secret)
    await states.lock(writer, b'{"ID": "lock-2"}')


async def test_a_worker_that_goes_down_gives_its_build_back(world, make_tar, tmp_path) -> None:
    alice, created = await alices_workspace(world, make_tar)
    world.terraform.hang = True
    async with working(world, tmp_path):
        await world.terraform.started.wait()
    assert (await world.services.builds.get(alice, created.latest_build.id)).status == "pending"
    world.terraform.hang = False
    async with working(world, tmp_path):
        log = await log_of(world, alice, created.latest_build.id)
    assert log[-1].status == "succeeded"
    lines = [item for item in log if isinstance(item, LogLine)]
    assert [line.seq for line in lines] == list(range(1, len(lines) + 1))
    rest = await log_of(world, alice, created.latest_build.id, after=lines[-2].seq)
    assert [item for item in rest if isinstance(item, LogLine)] == lines[-1:]


async def test_an_orphan_delete_runs_no_terraform(world, make_tar, tmp_path) -> None:
    alice, created = await alices_workspace(world, make_tar)
    async with working(world, tmp_path):
        await log_of(world, alice, created.latest_build.id)
        queued = await build(world, alice, "delete", orphan=True)
        await log_of(world, alice, queued.id)
    assert len(world.terraform.jobs) == 1
    assert await status(world, created.workspace) == "deleted"


async def test_control_characters_do_not_reach_a_log(world, make_tar, tmp_path) -> None:
    alice, created = await alices_workspace(world, make_tar)
    world.terraform.error = KledError("terraform_failed", "red \x1b[31m and \0 nul")
    async with working(world, tmp_path):
        log = await log_of(world, alice, created.latest_build.id)
    assert not any("\x1b" in i.text or "\0" in i.text for i in log if isinstance(i, LogLine))


async def test_waiting_for_the_agent(lite_world, make_tar, tmp_path) -> None:
    world = lite_world
    alice, created = await alices_workspace(world, make_tar)
    services = world.services
    wait = partial(services.agent_wait.wait, created.workspace.id, alice.user_id)
    async with trio.open_nursery() as nursery, working(world, tmp_path):
        nursery.start_soon(wait)
        await log_of(world, alice, created.latest_build.id)
        agent = await services.workspaces.agent_of(created.workspace.id)
        world.registry.connect(agent.id, world.clock())
    world.terraform.error = KledError("x", "it broke")
    async with working(world, tmp_path):
        world.registry.states.clear()
        queued = await build(world, alice, "start")
        await log_of(world, alice, queued.id)
        with pytest.raises(UnavailableError, match="it broke"):
            await wait()


async def test_state_is_locked_kept_and_sealed(world, make_tar) -> None:
    _, created = await alices_workspace(world, make_tar)
    claimed = await world.services.queue.claim("w")
    states, ws = world.services.states, created.workspace.id
    for build_id, secret, workspace in (
        (claimed.build.id, "wrong", ws),
        ("bld_x", claimed.secret, ws),
        (claimed.build.id, claimed.secret, "ws_other"),
    ):
        with pytest.raises(UnauthenticatedError):
            await states.authenticate(workspace, build_id, secret)
    writer = await states.authenticate(ws, claimed.build.id, claimed.secret)
    assert await states.read(writer) is None
    await states.lock(writer, b'{"ID": "a"}')
    with pytest.raises(StateLockedError) as caught:
        await states.lock(writer, b'{"ID": "b"}')
    assert (caught.value.status, caught.value.holder.info) == (423, '{"ID": "a"}')
    for lock_id in (None, "b"):
        with pytest.raises(ConflictError):
            await states.write(writer, b"{}", lock_id)
    await states.write(writer, b'{"serial": 1}', "a")
    await states.write(writer, b'{"serial": 2}', "a")
    assert await states.read(writer) == b'{"serial": 2}'
    await states.write(writer, None, "a")
    assert await states.read(writer) is None
    with pytest.raises(InputError):
        await states.write(writer, b"not json", "a")
    with pytest.raises(ConflictError):
        await states.unlock(writer, b'{"ID": "b"}')
    await states.unlock(writer, b'{"ID": "a"}')
    with pytest.raises(InputError):
        await states.lock(writer, b"[]")


async def test_a_coordinator_that_starts_fails_what_the_dead_one_was_running(
    world, make_tar
) -> None:
    _, created = await alices_workspace(world, make_tar)
    await world.services.queue.claim("here/dead")
    await world.services.queue.expire(lambda worker: worker.startswith("there/"))
    assert await status(world, created.workspace) == "starting"
    await world.services.queue.expire(lambda worker: worker.startswith("here/"))
    assert await status(world, created.workspace) == "failed"
    assert await world.services.queue.claim("alive") is None
