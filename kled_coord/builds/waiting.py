"""Wait for a workspace to be usable: its build to get that far and its agent to connect."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

import trio

from kled_coord.builds.machine import ENDED
from kled_coord.builds.service import Builds
from kled_coord.workspaces.choice import choose_agent
from kled_coord.workspaces.presence import Registry
from kled_coord.workspaces.service import Workspaces
from kled_wire.errors import UnavailableError
from kled_wire.names import WorkspaceId


async def wait_agent(
    workspace_id: WorkspaceId, workspaces: Workspaces, builds: Builds, registry: Registry
) -> None:
    """Return once the agent is connected; the caller sets the deadline.

    Raises UnavailableError("agent_not_connected") when the newest build did not start it, and
    ConflictError("agent_ambiguous").
    """
    while True:
        details = await workspaces.get(workspace_id)
        build, agent = details.latest_build, details.agent
        going_on = build is not None and build.status not in ENDED
        starting = build is not None and build.transition == "start"
        if agent is not None and registry.state(agent.id) and not (going_on and not starting):
            return
        if build is not None and not going_on and (not starting or build.status != "succeeded"):
            why = build.error or f"the workspace is {details.workspace.status}"
            raise agent_not_connected(why)
        waits: list[Callable[[], Awaitable[None]]] = []
        if build is not None and going_on:
            waits.append(partial(builds.wait_change, build.id))
        if agent is not None:
            waits.append(partial(registry.wait_connected, agent.id))
        if not waits:
            if not details.agents:
                raise agent_not_connected("the template makes no agent")
            choose_agent(details.agents)
        await _wait_first(waits)


def agent_not_connected(why: str) -> UnavailableError:
    """The error that says why there is nobody to talk to."""
    return UnavailableError(
        "agent_not_connected",
        f"the workspace's agent is not connected: {why}",
        hint="kled show NAME tells how its build went",
    )


async def _wait_first(waits: list[Callable[[], Awaitable[None]]]) -> None:
    async with trio.open_nursery() as nursery:

        async def run(wait: Callable[[], Awaitable[None]]) -> None:
            await wait()
            nursery.cancel_scope.cancel()

        for wait in waits:
            nursery.start_soon(run, wait)
