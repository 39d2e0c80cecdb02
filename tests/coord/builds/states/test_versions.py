"""Versions of states, and their way out and in again for an admin."""

from __future__ import annotations

import json

import pytest

from kled_coord.builds.states.backend import StateLockedError, StateWriter
from kled_coord.builds.transitions import BuildEvent
from kled_wire.errors import ConflictError, ForbiddenError, InputError, NotFoundError
from kled_wire.names import BuildId, parse_workspace_ref
from tests.coord.builds.steps import alices_workspace, build

DEV = parse_workspace_ref("alice/dev")


def state(serial: int, lineage: str = "l1", **more: object) -> bytes:
    of = {"version": 4, "serial": serial, "lineage": lineage, "resources": []}
    return json.dumps({**of, **more}).encode()


async def kept(world, make_tar):
    """Alice's workspace dev, whose build has written a state of serial 3."""
    alice, created = await alices_workspace(world, make_tar)
    claimed = (await world.services.queue.claim("w1")).build
    await world.services.states.adopt(created.workspace.id, claimed.id, state(3))
    await world.services.queue.end(claimed.id, BuildEvent.SUCCEEDED, worker="w1")
    return alice, await world.user("root", "owner"), created.workspace


async def test_a_pushed_state_is_the_newest_version(world, make_tar) -> None:
    alice, root, workspace = await kept(world, make_tar)
    states = world.services.state_versions
    assert await states.pull(root, DEV, None) == state(3)
    assert await states.push(root, DEV, state(4)) == 2
    assert await world.services.states.newest(workspace.id) == state(4)
    assert await states.pull(root, DEV, 1) == state(3)
    found = await states.list_for(alice, parse_workspace_ref("dev"))
    assert [(each.version, each.build, each.created_by, each.is_pushed) for each in found] == [
        (2, None, "root", True),
        (1, 1, "alice", False),
    ]
    rows = [(row.action, row.detail) for row in await world.services.audit.newest(20)]
    assert ("state.push", "version 2, serial 4") in rows
    assert ("state.pull", "version 1") in rows


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (state(3), "state_serial"),
        (state(2), "state_serial"),
        (state(9, "l2"), "state_lineage"),
    ],
)
async def test_a_push_follows_what_is_kept(lite_world, make_tar, content, code) -> None:
    world = lite_world
    _, root, workspace = await kept(world, make_tar)
    with pytest.raises(ConflictError) as caught:
        await world.services.state_versions.push(root, DEV, content)
    assert caught.value.code == code
    assert await world.services.states.newest(workspace.id) == state(3)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[" * 9999,
        b"[]",
        state(4, version=3),
        state(-1),
        state(True),
        state(4, ""),
        state(4, resources=None),
        state(4, resources=[{"mode": "managed"}]),
    ],
)
async def test_what_is_no_state_is_refused(lite_world, make_tar, content: bytes) -> None:
    _, root, _ = await kept(lite_world, make_tar)
    with pytest.raises(InputError) as caught:
        await lite_world.services.state_versions.push(root, DEV, content)
    assert caught.value.code == "state_invalid"


async def test_nothing_is_pushed_under_a_build_or_a_lock(world, make_tar) -> None:
    alice, root, workspace = await kept(world, make_tar)
    queued = await build(world, alice, "stop")
    push = world.services.state_versions.push
    with pytest.raises(ConflictError) as caught:
        await push(root, DEV, state(4))
    assert caught.value.code == "build_active"
    await world.services.builds.cancel(alice, queued.id)
    writer = await locked(world, workspace)
    with pytest.raises(StateLockedError):
        await push(root, DEV, state(4))
    await world.services.states.unlock(writer, b'{"ID": "x"}')
    assert await push(root, DEV, state(4)) == 2


async def locked(world, workspace):
    """A lock that somebody left."""
    writer = StateWriter(workspace_id=workspace.id, build_id=BuildId("bld_x"))
    await world.services.states.lock(writer, b'{"ID": "x"}')
    return writer


async def test_a_state_is_for_admins_alone(world, make_tar) -> None:
    alice, _, _ = await kept(world, make_tar)
    states = world.services.state_versions
    look, push = await world.user("look", "auditor"), state(4)
    for caller in (alice, look):
        with pytest.raises(ForbiddenError):
            await states.pull(caller, DEV, None)
        with pytest.raises(ForbiddenError):
            await states.push(caller, DEV, push)
    assert len(await states.list_for(look, DEV)) == 1
    with pytest.raises(NotFoundError):
        await states.list_for(await world.user("bob"), DEV)


async def test_a_version_that_is_not_kept_is_said_so(lite_world, make_tar) -> None:
    _, root, _ = await kept(lite_world, make_tar)
    with pytest.raises(NotFoundError, match="no version 9 of its state"):
        await lite_world.services.state_versions.pull(root, DEV, 9)
