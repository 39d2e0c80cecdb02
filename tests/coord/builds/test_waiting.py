"""Waits for an agent that will not come end at once, with the reason."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import trio
import trio.testing

from kled_provider.kled.processes import launcher
from kled_wire.errors import UnavailableError
from tests.coord.builds.steps import alices_workspace, log_of, working

# Above pid_max of every Linux: a process that has ended.
DEAD = 2**22 + 1


async def started(world, make_tar, tmp_path) -> tuple[Any, Any, Any]:
    """A workspace that was started, its owner and its agent, which has not connected."""
    alice, created = await alices_workspace(world, make_tar)
    async with working(world, tmp_path):
        await log_of(world, alice, created.latest_build.id)
    agent = await world.services.workspaces.agent_of(created.workspace.id)
    return created.workspace.id, alice, agent


def leave_process(world, workspace_id: str, agent_id: str, **changes: Any) -> None:
    directory = world.services.config.processes / workspace_id / workspace_id
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "agent.log").write_text("old words\nkled-agent: no 2nd\x1b[31m route\n")
    record = {
        "pid": DEAD,
        "start_mark": "x",
        "started_at": 1.0,
        "fingerprint": "f",
        "agent_id": agent_id,
        "log_start": len("old words\n"),
        **changes,
    }
    launcher.write_record(str(directory / "agent.json"), record)


async def refusal(world, workspace_id: str, reader: Any) -> UnavailableError:
    with pytest.raises(UnavailableError) as caught, trio.fail_after(10):
        await world.services.agent_wait.wait(workspace_id, reader.user_id)
    return caught.value


async def test_an_agent_that_has_ended_is_not_waited_for(lite_world, make_tar, tmp_path) -> None:
    world = lite_world
    workspace_id, alice, agent = await started(world, make_tar, tmp_path)
    leave_process(world, workspace_id, agent.id)
    error = await refusal(world, workspace_id, alice)
    assert error.code == "agent_ended"
    assert error.message.endswith("it said last: kled-agent: no 2nd route")
    # What is said in a workspace is its owner's.
    foreign = await refusal(world, workspace_id, await world.user("max", "auditor"))
    assert (foreign.code, "route" in foreign.message) == ("agent_ended", False)
    # Whoever connects all the same has not ended.
    world.registry.connect(agent.id, world.clock())
    await world.services.agent_wait.wait(workspace_id, alice.user_id)


async def test_an_agent_that_is_refused_is_not_waited_for(lite_world, make_tar, tmp_path) -> None:
    world = lite_world
    workspace_id, alice, agent = await started(world, make_tar, tmp_path)
    world.registry.refused(agent, "of long ago", world.clock() - timedelta(hours=1))
    found: list[str] = []

    async def wait() -> None:
        found.append((await refusal(world, workspace_id, alice)).message)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        assert not found
        world.registry.refused(agent, "its version is \x1b[1m0.1", world.clock())
    assert found == ["the workspace's agent was refused: its version is 0.1"]


async def test_a_revoked_token_refuses_the_agent_of_its_name(api, make_tar, tmp_path) -> None:
    world, agents = api.world, api.world.services.agents
    workspace_id, alice, agent = await started(world, make_tar, tmp_path)
    _, token = await agents.ensure(workspace_id, "main")
    await agents.release(workspace_id, agent.id)
    await agents.ensure(workspace_id, "main")
    headers = {"Authorization": f"Bearer {token}"}
    body = {"host_public_key": "x", "version": "1", "hostname": "h", "os": "l", "arch": "a"}
    answer = await api.client.post("/api/v1/agent/enroll", headers=headers, json=body)
    assert answer.json()["error"]["code"] == "token_revoked"
    error = await refusal(world, workspace_id, alice)
    assert (error.code, "was revoked" in error.message) == ("agent_refused", True)
