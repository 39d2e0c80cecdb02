"""Routes: the runs of a workspace's scripts, and their output."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from fastapi.responses import StreamingResponse

from kled_coord.api.answers import ScriptAnswer
from kled_coord.api.builds import Admitted
from kled_coord.api.guard import BearerDep, CallerDep, NamePath, RefDep, ServicesDep
from kled_coord.policy.actions import Action
from kled_coord.scripts.following import Printed, follow_scripts, read_text
from kled_coord.services import Services
from kled_coord.store.builds import build_by_number, newest_start
from kled_coord.store.records import Build, ScriptRun, Workspace
from kled_coord.store.scripts import script_run, script_runs_of
from kled_wire.errors import NotFoundError
from kled_wire.names import AgentId

router = APIRouter(prefix="/api/v1/workspaces/{ref}/scripts", tags=["scripts"])
# The number of a build; without it, the newest one that started the workspace. A stop or delete
# runs scripts of the start before it, and they are shown with the stop or delete.
BuildNumber = Annotated[int | None, Query(ge=1, le=2**31 - 1)]


@router.get("")
async def list_scripts(
    ref: RefDep, services: ServicesDep, caller: CallerDep, build: BuildNumber = None
) -> list[ScriptAnswer]:
    """How the scripts of a build went; those of one agent where AGENT--WS names it."""
    workspace, agent = await services.workspaces.locate(caller, ref, Action.WORKSPACE_READ)
    asked = await _asked(services, workspace, agent, build)
    runs = await services.store.read(script_runs_of, asked.start.id)
    names = await _names(services, workspace)
    return [ScriptAnswer.of(run, names) for run in runs if asked.shows(run)]


@router.get("/log")
async def follow_log(
    ref: RefDep,
    services: ServicesDep,
    caller: CallerDep,
    bearer: BearerDep,
    build: BuildNumber = None,
    follow: bool = False,
) -> StreamingResponse:
    """What the scripts of a build print, one JSON object a line.

    Those of one agent where AGENT--WS names it. With `follow` until those of the start have ended.
    """
    workspace, agent = await services.workspaces.locate(caller, ref, Action.WORKSPACE_OUTPUT)
    asked = await _asked(services, workspace, agent, build)

    async def is_over(runs: list[ScriptRun]) -> bool:
        details = await services.workspaces.get(workspace.id, agent)
        newest = details.latest_build
        if newest is None or newest.id != asked.build.id:
            return True
        if asked.build.transition != "start":
            return newest.finished_at is not None
        return not await services.script_view.is_starting(details, runs)

    items = follow_scripts(
        services.store,
        services.changes,
        workspace.id,
        asked.start.id,
        shows=asked.shows,
        is_over=is_over if follow else None,
    )
    return Admitted(services.identity, bearer, _lines(services, workspace, items))


@router.get("/{agent}/{run}/output")
async def get_output(
    ref: RefDep, agent: NamePath, run: NamePath, services: ServicesDep, caller: CallerDep
) -> Response:
    """All that is kept of what a run has printed, as text."""
    workspace = await services.workspaces.resolve(caller, ref, Action.WORKSPACE_OUTPUT)
    ids = {name: str(agent_id) for agent_id, name in (await _names(services, workspace)).items()}
    found = await services.store.read(script_run, workspace.id, ids.get(agent, agent), run)
    if found is None:
        raise NotFoundError("script_run_not_found", f"there is no run {run} of the agent {agent}")
    text = await read_text(services.store, found)
    # Bytes as they were printed: no browser is to take them for a page.
    headers = {"X-Content-Type-Options": "nosniff"}
    return Response(text, media_type="text/plain; charset=utf-8", headers=headers)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """A build that runs are shown of: of those that belong to `start` the ones of `stages`.

    Of them those of one agent, None: of all, also of those that the template no longer has.
    """

    build: Build
    start: Build
    stages: frozenset[str]
    agent_id: AgentId | None

    def shows(self, run: ScriptRun) -> bool:
        """Whether a run of `start` is among them."""
        return run.stage in self.stages and self.agent_id in {None, run.agent_id}


async def _asked(
    services: Services, workspace: Workspace, agent: str | None, number: int | None
) -> _Asked:
    """Raises NotFoundError("build_not_found"), and for an agent that is named as `agent_of`."""
    agent_id = None
    if agent is not None:
        agent_id = (await services.workspaces.agent_of(workspace.id, agent)).id
    if number is None:
        found = await services.store.read(newest_start, workspace.id)
    else:
        found = await services.store.read(build_by_number, workspace.id, number)
    if found is None:
        raise NotFoundError("build_not_found", f"{workspace.name} has no such build")
    if found.transition == "start":
        stages = frozenset({"start", "cron"})
        return _Asked(build=found, start=found, stages=stages, agent_id=agent_id)
    start = await services.store.read(newest_start, workspace.id, found.number) or found
    return _Asked(build=found, start=start, stages=frozenset({"stop"}), agent_id=agent_id)


async def _names(services: Services, workspace: Workspace) -> Mapping[AgentId, str]:
    details = await services.workspaces.get(workspace.id)
    return {agent.id: agent.name for agent in details.agents}


async def _lines(
    services: Services, workspace: Workspace, items: AsyncIterator[ScriptRun | Printed]
) -> AsyncIterator[bytes]:
    names: Mapping[AgentId, str] = {}
    async for item in items:
        run = item.run if isinstance(item, Printed) else item
        if run.agent_id not in names:
            names = {run.agent_id: run.agent_id, **await _names(services, workspace)}
        yield json.dumps(_shown(item, names)).encode() + b"\n"


def _shown(item: ScriptRun | Printed, names: Mapping[AgentId, str]) -> dict[str, Any]:
    if isinstance(item, ScriptRun):
        return {"script": ScriptAnswer.of(item, names).model_dump(mode="json")}
    data = base64.b64encode(item.data).decode("ascii")
    return {"output": {"id": item.run.run, "data": data, "cut_bytes": item.cut_bytes}}
