"""Routes: workspaces."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Literal

import trio
from fastapi import APIRouter, Query, Request, Response

from kled_coord.api.answers import BuildAnswer, NoteAnswer, ResourceAnswer, WorkspaceAnswer
from kled_coord.api.bodies import (
    EvaluateWorkspaceBody,
    Name,
    NewBuildBody,
    NewWorkspaceBody,
    PlanBody,
    RenameBody,
    Text,
)
from kled_coord.api.build_answers import PlannedChangeAnswer, RenamedAnswer
from kled_coord.api.guard import CallerDep, NamePath, RefDep, ServicesDep
from kled_coord.api.leaving import run_while_connected
from kled_coord.api.template_answers import EvaluationAnswer
from kled_coord.builds.choosing import AskedParameters
from kled_coord.builds.states.resources import applied_resources
from kled_coord.builds.waiting import agent_not_connected, agent_not_ready
from kled_coord.policy.actions import Action
from kled_coord.policy.decide import Caller
from kled_coord.services import Services
from kled_coord.templates.choosing import evaluate_again, evaluate_new
from kled_coord.terraform.output.changes import PlannedChanges
from kled_coord.workspaces.lifecycle import Transition
from kled_coord.workspaces.service import WorkspaceDetails
from kled_wire.names import WorkspaceRef

router = APIRouter(prefix="/api/v1/workspaces", tags=["workspaces"])
WAIT_MAX_S = 600


@router.get("")
async def list_workspaces(
    services: ServicesDep,
    caller: CallerDep,
    owner: Annotated[Text | None, Query()] = None,
    q: Annotated[Text, Query()] = "",
    sort: Annotated[Name, Query()] = "owner",
) -> list[WorkspaceAnswer]:
    """The caller's workspaces, another owner's, or with `owner=*` all; `q` narrows them down."""
    found = await services.workspaces.list_for(caller, owner, q, sort)
    views = await services.script_view.of(found)
    workers = services.config.workers
    return [WorkspaceAnswer.of(each, services.registry, workers, views) for each in found]


@router.post("", status_code=201)
async def create_workspace(
    body: NewWorkspaceBody, services: ServicesDep, caller: CallerDep
) -> WorkspaceAnswer:
    """Create a workspace; its first build is queued."""
    version = await services.templates.version(caller, body.template, body.version)
    evaluation, kept = await evaluate_new(
        services.questions,
        services.workspaces,
        caller,
        version,
        name=body.name,
        given=body.parameters,
        preset=body.preset,
        copy_from=body.copy_from,
    )
    created = await services.workspaces.create(
        caller,
        name=body.name,
        version=version,
        parameters=evaluation.given,
        kept=kept,
        asked=evaluation.parameters,
    )
    return await _shown(created, services, caller)


@router.get("/{ref}")
async def get_workspace(ref: RefDep, services: ServicesDep, caller: CallerDep) -> WorkspaceAnswer:
    """One workspace."""
    workspace, asked = await services.workspaces.locate(caller, ref, Action.WORKSPACE_READ)
    answer = await _shown(await services.workspaces.get(workspace.id, asked), services, caller)
    answer.sandbox = (await services.sandbox.make()).describe()
    notes = await services.workspaces.notes(workspace.id)
    answer.notes = [NoteAnswer.model_validate(note) for note in notes]
    answer.daily_cost = sum(note.daily_cost for note in answer.notes)
    return answer


@router.patch("/{ref}")
async def rename_workspace(
    ref: RefDep, request: Request, body: RenameBody, services: ServicesDep, caller: CallerDep
) -> RenamedAnswer:
    """Rename a workspace that is stopped, unless that destroys or replaces what it has."""
    rename = partial(services.renaming.rename, caller, ref, body.name)
    workspace, changes = await run_while_connected(request, rename)
    shown = [PlannedChangeAnswer.of(change) for change in changes]
    return RenamedAnswer(id=workspace.id, name=workspace.name, changes=shown)


@router.get("/{ref}/wait")
async def wait_workspace(
    ref: RefDep,
    services: ServicesDep,
    caller: CallerDep,
    what: Annotated[Literal["agent", "ready"], Query(alias="for")] = "agent",
    timeout_s: Annotated[float, Query(ge=0, le=WAIT_MAX_S)] = 60,
) -> WorkspaceAnswer:
    """Wait until the workspace's agent is connected, or until logins need not wait (`ready`)."""
    workspace, asked = await services.workspaces.locate(caller, ref, Action.WORKSPACE_READ)
    wait = services.agent_wait.wait if what == "agent" else services.agent_wait.wait_ready
    with trio.move_on_after(timeout_s):
        await wait(workspace.id, caller.user_id, asked)
        return await _shown(await services.workspaces.get(workspace.id, asked), services, caller)
    found = await services.agent_wait.readiness(workspace.id, asked)
    if what == "ready" and not any(each.status == "connecting" for each in found):
        raise agent_not_ready(found, timeout_s)
    raise agent_not_connected(f"no agent connected within {timeout_s:.0f} s")


@router.get("/{ref}/builds")
async def list_builds(ref: RefDep, services: ServicesDep, caller: CallerDep) -> list[BuildAnswer]:
    """A workspace's builds."""
    found = await services.builds.list_for(caller, ref)
    return [BuildAnswer.of(build, services.config.workers) for build in found]


@router.post("/{ref}/builds", status_code=202)
async def create_build(
    ref: RefDep, body: NewBuildBody, services: ServicesDep, caller: CallerDep
) -> BuildAnswer:
    """Start, stop, restart or delete a workspace; of a restart the stop is answered."""
    restart = body.transition == "restart"
    transition = Transition.START if restart else Transition(body.transition)
    given, asked = await _answered(ref, body, transition, services, caller)
    build = await services.builds.create(
        caller,
        ref,
        transition,
        version=body.version,
        orphan=body.orphan,
        parameters=given,
        asked=asked,
        restart=restart,
    )
    return BuildAnswer.of(build, services.config.workers)


async def _answered(
    ref: WorkspaceRef,
    body: NewBuildBody | PlanBody,
    transition: Transition,
    services: Services,
    caller: Caller,
) -> tuple[Mapping[str, str], AskedParameters | None]:
    """The values for a build, and what Terraform says of them where it has to be asked."""
    given: Mapping[str, str] = body.parameters
    if transition is not Transition.START or not (body.version or given or body.preset):
        return given, None
    workspace = await services.workspaces.resolve(caller, ref, Action.WORKSPACE_START)
    version, kept = await services.builds.next_start(workspace, body.version)
    evaluation, asked = await evaluate_again(
        services.questions, caller, workspace, version, kept, given=given, preset=body.preset
    )
    return evaluation.given, asked


@router.post("/{ref}/plan")
async def plan_build(
    ref: RefDep, request: Request, body: PlanBody, services: ServicesDep, caller: CallerDep
) -> list[PlannedChangeAnswer]:
    """What a build would change. Nothing is queued, locked or written."""

    async def plan() -> PlannedChanges:
        given, asked = await _answered(ref, body, body.transition, services, caller)
        return await services.previews.plan(
            caller, ref, body.transition, version=body.version, parameters=given, asked=asked
        )

    planned = await run_while_connected(request, plan)
    return [PlannedChangeAnswer.of(change) for change in planned.changes]


@router.post("/{ref}/drift")
async def find_drift(
    ref: RefDep, request: Request, services: ServicesDep, caller: CallerDep
) -> list[PlannedChangeAnswer]:
    """The resources that differ from the state, found by a plan that only refreshes."""
    found = await run_while_connected(request, partial(services.previews.drift, caller, ref))
    return [PlannedChangeAnswer.of(change) for change in found.drift]


@router.post("/{ref}/parameters/evaluate")
async def evaluate_parameters(
    ref: RefDep,
    request: Request,
    body: EvaluateWorkspaceBody,
    services: ServicesDep,
    caller: CallerDep,
) -> EvaluationAnswer:
    """The parameters of the workspace's next start with some answers."""
    workspace = await services.workspaces.resolve(caller, ref, Action.WORKSPACE_START)
    version, kept = await services.builds.next_start(workspace, body.version)
    evaluate = partial(
        evaluate_again,
        services.questions,
        caller,
        workspace,
        version,
        kept,
        given=body.parameters,
        preset=body.preset,
    )
    evaluation, _ = await run_while_connected(request, evaluate)
    return EvaluationAnswer.of(version, evaluation)


@router.post("/{ref}/agents/{name}/token")
async def show_agent_token(
    ref: RefDep,
    name: NamePath,
    services: ServicesDep,
    caller: CallerDep,
    response: Response,
) -> dict[str, str]:
    """What an agent that is started by hand needs."""
    workspace = await services.workspaces.resolve(caller, ref, Action.AGENT_TOKEN)
    agent_id, token = await services.agents.token(caller, workspace, name)
    response.headers["Cache-Control"] = "no-store"
    return {
        "agent_id": agent_id,
        "name": name,
        "token": token,
        "coordinator_url": services.config.access_url,
    }


@router.get("/{ref}/resources")
async def list_resources(
    ref: RefDep, services: ServicesDep, caller: CallerDep
) -> list[ResourceAnswer]:
    """What Terraform has made for the workspace, as its state says now."""
    workspace = await services.workspaces.resolve(caller, ref, Action.WORKSPACE_READ)
    found = await services.states.look(workspace.id, applied_resources)
    return [ResourceAnswer.model_validate(each) for each in found]


@router.get("/{ref}/ping")
async def ping_workspace(
    ref: RefDep, services: ServicesDep, caller: CallerDep
) -> dict[str, float | str]:
    """Measure the round trip to the workspace's agent now."""
    workspace, asked = await services.workspaces.locate(caller, ref, Action.WORKSPACE_READ)
    agent = await services.workspaces.agent_of(workspace.id, asked)
    rtt_s = await services.registry.ping(agent.id)
    state = services.registry.state(agent.id)
    return {
        "coordinator_agent_ms": round(rtt_s * 1000, 3),
        "agent_version": state.version if state else agent.version or "",
        "agent_address": state.address if state else agent.address or "",
    }


async def _shown(details: WorkspaceDetails, services: Services, caller: Caller) -> WorkspaceAnswer:
    views = await services.script_view.of([details])
    return WorkspaceAnswer.of(
        details,
        services.registry,
        services.config.workers,
        views,
        whole=True,
        is_owner=details.workspace.owner_id == caller.user_id,
    )
