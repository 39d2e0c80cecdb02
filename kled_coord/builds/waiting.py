"""Waits until a workspace's agent is connected or ready, or known not to connect.

The wait ends early if the build failed, if the agent's process on this machine has ended, or if the
agent was refused.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import trio

from kled_coord.builds.service import Builds
from kled_coord.builds.transitions import ENDED
from kled_coord.changes import Changes
from kled_coord.masking import Mask, ReadSecrets
from kled_coord.scripts.readiness import AgentReadiness
from kled_coord.scripts.service import scripts_key
from kled_coord.scripts.view import ScriptView
from kled_coord.store.records import AgentRecord, Build
from kled_coord.terraform.process.nurseries import one_error
from kled_coord.terraform.providers import load_providers
from kled_coord.workspaces.choice import choose_agent
from kled_coord.workspaces.presence import Registry
from kled_coord.workspaces.service import WorkspaceDetails, Workspaces
from kled_wire.errors import ConflictError, NotFoundError, UnavailableError
from kled_wire.names import UserId, WorkspaceId
from kled_wire.text import printable

T = TypeVar("T")
# An agent may be linked to another process, and changes there notify nobody here.
_LOOK_AGAIN_S: Final = 5.0
# None: something has changed. Else why nobody will come.
_Wait = Callable[[], Awaitable[UnavailableError | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentWait:
    """What a wait for an agent asks; `processes` has a directory for each workspace's processes."""

    workspaces: Workspaces
    secrets: ReadSecrets
    builds: Builds
    registry: Registry
    processes: Path
    changes: Changes
    view: ScriptView

    async def wait(
        self, workspace_id: WorkspaceId, reader: UserId, asked: str | None = None
    ) -> None:
        """Return once the agent that was asked for is connected; the caller sets the deadline.

        Where none was, and several are meant by none, once all are.

        What an agent said last is told to its owner only. Raises UnavailableError:
        "agent_not_connected" when the newest build did not start it, "agent_ended" or
        "agent_refused" when it will not connect; and NotFoundError("agent_not_found"), also where
        the newest build makes no agent at all.
        """
        while True:
            details = await self.workspaces.get(workspace_id, asked)
            build, agent = details.latest_build, details.agent
            going_on = build is not None and build.status not in ENDED
            starting = build is not None and build.transition == "start"
            if agent is not None and self.registry.state(agent.id) and (starting or not going_on):
                return
            if build is not None and not going_on and (not starting or build.status != "succeeded"):
                why = build.error or f"the workspace is {details.workspace.status}"
                raise agent_not_connected(why)
            waits = self._waits(details, reader)
            if not waits:
                if not details.agents:
                    raise NotFoundError(
                        "agent_not_found",
                        "the template makes no agent: there is nothing to connect to",
                    )
                try:
                    choose_agent(details.agents, asked)
                except ConflictError:
                    for each in details.agents:
                        await self.wait(workspace_id, reader, each.name)
                    return
            problem = await _wait_first(waits)
            if problem is not None and (agent is None or not self.registry.state(agent.id)):
                raise problem

    async def wait_ready(
        self, workspace_id: WorkspaceId, reader: UserId, asked: str | None = None
    ) -> None:
        """As `wait`, and until the start scripts that logins wait for have ended, well or not."""
        while True:
            await self.wait(workspace_id, reader, asked)
            changed = self.changes.next_change(scripts_key(workspace_id))
            if all(each.settled for each in await self.readiness(workspace_id, asked)):
                return
            with trio.move_on_after(_LOOK_AGAIN_S):
                await changed.wait()

    async def readiness(
        self, workspace_id: WorkspaceId, asked: str | None = None
    ) -> list[AgentReadiness]:
        """How the agent is that was asked for, or is meant; all of them where none is."""
        details = await self.workspaces.get(workspace_id, asked)
        views = await self.view.of([details])
        agents = details.agents if details.agent is None else (details.agent,)
        return [views[agent.id].readiness for agent in agents]

    def _waits(self, details: WorkspaceDetails, reader: UserId) -> list[_Wait]:
        """What may come next. Until the build is over, what its agent did counts for nothing."""
        build, agent = details.latest_build, details.agent
        going_on = build is not None and build.status not in ENDED
        waits: list[_Wait] = []
        if build is not None and going_on:
            waits.append(partial(self._change, build))
        if agent is not None:
            waits.append(partial(self._connected, agent))
        if build is not None and agent is not None and not going_on:
            is_owner = reader == details.workspace.owner_id
            waits.append(partial(self._ended, agent, is_owner=is_owner))
            waits.append(partial(self._refused, agent, build))
        return waits

    async def _change(self, build: Build) -> None:
        await self.builds.wait_change(build.id)

    async def _connected(self, agent: AgentRecord) -> None:
        await self.registry.wait_connected(agent.id)

    async def _ended(self, agent: AgentRecord, *, is_owner: bool) -> UnavailableError:
        directory = str(self.processes / agent.workspace_id)
        waits = [
            partial(each.wait_agent_end, agent.workspace_id, directory, agent.id)
            for each in load_providers()
        ]
        how, lines = await _wait_first(waits)
        if not lines:
            said = "it said nothing"
        elif not is_owner:
            said = "its owner is told what it said last"
        else:
            mask = Mask(await self.secrets(agent.workspace_id))
            said = f"it said last: {printable(mask.hide(' | '.join(lines)))}"
        return UnavailableError(
            "agent_ended",
            f"the workspace's agent has ended: {printable(how)}{'; ' if how else ''}{said}",
            hint="correct its template or its machine, then kled start NAME",
        )

    async def _refused(self, agent: AgentRecord, build: Build) -> UnavailableError:
        why = await self.registry.wait_refused(agent, build.started_at or build.queued_at)
        return UnavailableError(
            "agent_refused",
            f"the workspace's agent was refused: {printable(why)}",
            hint="install its version of the coordinator's, or let its template give it the token "
            "of now, then kled start NAME",
        )


def agent_not_ready(found: Sequence[AgentReadiness], waited_s: float) -> UnavailableError:
    """The error that says what is waited for."""
    why = next((each.advice for each in found if not each.settled), "its build goes on")
    return UnavailableError(
        "agent_not_ready", f"the workspace is not ready after {waited_s:.0f} s: {why}"
    )


def agent_not_connected(why: str) -> UnavailableError:
    """The error that says why there is nobody to talk to."""
    return UnavailableError(
        "agent_not_connected",
        f"the workspace's agent is not connected: {why}",
        hint="kled show NAME shows how its build ended",
    )


async def _wait_first(waits: Sequence[Callable[[], Awaitable[T]]]) -> T:
    """What the first of them gives; the others are cancelled."""
    found: list[T] = []
    with one_error():
        async with trio.open_nursery() as nursery:

            async def run(wait: Callable[[], Awaitable[T]]) -> None:
                found.append(await wait())
                nursery.cancel_scope.cancel()

            for wait in waits:
                nursery.start_soon(run, wait)
    return found[0]
