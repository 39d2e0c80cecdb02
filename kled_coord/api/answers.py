"""The JSON answers of routes about workspaces and connections, as docs/protocol.md has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from kled_coord.builds.queue_position import tell_place
from kled_coord.scripts.service import Metadata
from kled_coord.scripts.view import AgentView
from kled_coord.store.records import (
    AgentRecord,
    AuditRow,
    Build,
    ScriptRun,
    SessionRow,
)
from kled_coord.workspaces.presence import Registry
from kled_coord.workspaces.service import WorkspaceDetails
from kled_wire.control.agent_spec import App, MetadataItem
from kled_wire.names import AgentId

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


class ProgressAnswer(BaseModel):
    """How far a build is."""

    done: int
    total: int
    message: str


class PlaceAnswer(BaseModel):
    """Where a build waits: `position` from 1, and why."""

    position: int
    reason: str


class BuildAnswer(BaseModel):
    """A build; `queue` only while it waits. `restarts`: a start follows it."""

    id: str
    workspace_id: str
    number: int
    transition: str
    status: str
    version: int
    restarts: bool
    error: str | None
    progress: ProgressAnswer
    queue: PlaceAnswer | None
    queued_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    created_by: str
    notes: list[NoteAnswer] | None = None  # only where one build is asked for

    @classmethod
    def of(cls, build: Build, workers: int) -> BuildAnswer:
        """Make one from a record; `workers` run builds."""
        position = build.queue_position
        queue = position and PlaceAnswer(position=position, reason=tell_place(position, workers))
        progress = ProgressAnswer(
            done=build.progress_done, total=build.progress_total, message=build.progress_message
        )
        more = {"progress": progress, "queue": queue, "restarts": build.then_start is not None}
        return cls.model_validate({**fields_of(build), **more})


class ScriptAnswer(BaseModel):
    """The newest run of a script; `id` is the run's, `script` the resource's."""

    id: str
    agent: str
    build_id: str
    script: str
    name: str
    stage: str
    state: str
    exit_code: int | None
    note: str
    blocks_login: bool
    started_at: datetime | None
    duration_s: float

    @classmethod
    def of(cls, run: ScriptRun, agents: Mapping[AgentId, str]) -> ScriptAnswer:
        """Make one from a record; `agents` are their names."""
        more = {"id": run.run, "agent": agents.get(run.agent_id, run.agent_id)}
        return cls.model_validate({**fields_of(run), **more})


class MetadataAnswer(BaseModel):
    """What an agent has found out last; null where nothing is known yet."""

    key: str
    display_name: str
    value: str | None
    error: str | None
    at: datetime | None
    took_s: float | None

    @classmethod
    def of(cls, item: MetadataItem, found: Metadata | None) -> MetadataAnswer:
        """Make one from what the template says, and what was found."""
        return cls(
            key=item.key,
            display_name=item.display_name or item.key,
            value=found.value if found else None,
            error=found.error or None if found else None,
            at=found.at if found else None,
            took_s=found.took_s if found else None,
        )


class AppAnswer(BaseModel):
    """An app of the template's; `url` and `command` for the workspace's owner alone."""

    slug: str
    display_name: str
    icon: str
    url: str | None
    command: str | None
    external: bool
    share: str
    open_in: str
    group: str
    hidden: bool
    tooltip: str

    @classmethod
    def of(cls, app: App, *, is_owner: bool) -> AppAnswer:
        """Make one from what the template says."""
        inside = {} if is_owner else {"url": None, "command": None}
        return cls.model_validate({**fields_of(app), **inside})


class AgentAnswer(BaseModel):
    """A workspace's agent; `status` is connected, disconnected or never.

    `state` and `advice` are about its start scripts too. `scripts`, `metadata` and `apps` only
    where one workspace was asked for.
    """

    id: str
    name: str
    status: str
    version: str | None
    hostname: str | None
    os: str | None
    arch: str | None
    address: str | None
    rtt_ms: float | None
    last_seen_at: datetime | None
    state: str
    advice: str
    waits_for: tuple[str, ...]
    scripts: list[ScriptAnswer] | None = None
    metadata: list[MetadataAnswer] | None = None
    apps: list[AppAnswer] | None = None

    @classmethod
    def of(
        cls,
        agent: AgentRecord,
        registry: Registry,
        view: AgentView,
        *,
        whole: bool,
        is_owner: bool,
    ) -> AgentAnswer:
        """Make one from a record and, when it is connected, from what the registry knows."""
        state = registry.state(agent.id)
        readiness = view.readiness
        more: dict[str, object] = {
            "state": readiness.status,
            "advice": readiness.advice,
            "waits_for": readiness.waits_for,
        }
        if whole:
            more["scripts"] = [ScriptAnswer.of(r, {agent.id: agent.name}) for r in view.runs]
            more["metadata"] = [MetadataAnswer.of(*item) for item in view.metadata]
            more["apps"] = [AppAnswer.of(app, is_owner=is_owner) for app in view.apps]
        values = {**fields_of(agent), **more}
        if state is None:
            status = "never" if agent.last_seen_at is None else "disconnected"
            return cls.model_validate({**values, "status": status, "rtt_ms": None})
        now = {
            "status": "connected",
            "version": state.version or agent.version,
            "hostname": state.hostname or agent.hostname,
            "os": state.os or agent.os,
            "arch": state.arch or agent.arch,
            "address": state.address,
            "rtt_ms": None if state.rtt_s is None else round(state.rtt_s * 1000, 3),
            "last_seen_at": state.last_seen_at,
        }
        return cls.model_validate({**values, **now})


class OutputAnswer(BaseModel):
    """An output of a template; `value` is null where it is sensitive or `too_long`."""

    value: Any
    sensitive: bool
    too_long: bool = False


class ItemAnswer(BaseModel):
    """One thing that a note says; `value` is null where it is sensitive, or there is none."""

    key: str
    value: str | None
    sensitive: bool


class NoteAnswer(BaseModel):
    """What a template notes on one of its resources, whose `address` and `type` it has."""

    address: str
    type: str
    icon: str
    hide: bool
    daily_cost: int | float
    items: list[ItemAnswer]


class ResourceAnswer(BaseModel):
    """One instance of a resource that Terraform has made."""

    address: str
    type: str


class WorkspaceAnswer(BaseModel):
    """A workspace."""

    id: str
    name: str
    owner: str
    template: str
    template_version: int
    template_version_name: str | None
    status: str
    agent: AgentAnswer | None
    agents: list[AgentAnswer]
    latest_build: BuildAnswer | None
    parameters: dict[str, str | None]
    outputs: dict[str, OutputAnswer]
    created_at: datetime
    updated_at: datetime
    last_used_at: datetime | None
    # Only where one workspace is asked for: what confines its builds, and its template's notes.
    sandbox: str | None = None
    notes: list[NoteAnswer] | None = None
    daily_cost: int | float | None = None

    @classmethod
    def of(
        cls,
        details: WorkspaceDetails,
        registry: Registry,
        workers: int,
        views: Mapping[AgentId, AgentView],
        *,
        whole: bool = False,
        is_owner: bool = False,
    ) -> WorkspaceAnswer:
        """Make one from a record with its agent and newest build; `workers` run builds.

        `whole` has more, some of it if the workspace's owner asks: `is_owner`.
        """
        agent, build = details.agent, details.latest_build
        agents = {
            each.id: AgentAnswer.of(each, registry, views[each.id], whole=whole, is_owner=is_owner)
            for each in details.agents
        }
        more = {
            "owner": details.workspace.owner_name,
            "outputs": details.workspace.outputs or {},
            "agent": None if agent is None else agents[agent.id],
            "agents": list(agents.values()),
            "latest_build": None if build is None else BuildAnswer.of(build, workers),
        }
        return cls.model_validate({**fields_of(details.workspace), **more})


class AuditAnswer(BaseModel):
    """A row of the audit log."""

    id: str
    at: datetime
    user_id: str | None
    user_name: str | None
    token_id: str | None
    action: str
    resource: str
    allowed: bool
    detail: str

    @classmethod
    def of(cls, row: AuditRow) -> AuditAnswer:
        """Make one from a record."""
        return cls.model_validate(fields_of(row))


class ConnectionAnswer(BaseModel):
    """A stream to a workspace; `closed_at` null: it is open."""

    id: str
    workspace_id: str
    workspace: str | None
    owner: str | None
    user_id: str
    user_name: str | None
    kind: str
    client_address: str
    opened_at: datetime
    closed_at: datetime | None
    bytes_to_agent: int
    bytes_to_client: int
    reason: str | None

    @classmethod
    def of(cls, row: SessionRow) -> ConnectionAnswer:
        """Make one from a record."""
        return cls.model_validate(fields_of(row))


def fields_of(record: DataclassInstance) -> dict[str, object]:
    """A record's fields by name."""
    return {field.name: getattr(record, field.name) for field in fields(record)}
