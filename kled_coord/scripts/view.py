"""Assembles the answer about agents: state, scripts and metadata."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kled_coord.scripts.readiness import (
    ENDED,
    AgentReadiness,
    AgentStatus,
    Seen,
    decide_readiness,
)
from kled_coord.scripts.service import Metadata, ScriptIntake
from kled_coord.sources import Clock
from kled_coord.store.engine import Store
from kled_coord.store.records import AgentRecord, Build, ScriptRun
from kled_coord.store.scripts import newest_script_runs
from kled_coord.workspaces.presence import Registry
from kled_coord.workspaces.service import WorkspaceDetails
from kled_coord.workspaces.specs import Specs
from kled_wire.control.agent_spec import AgentSpec, App, MetadataItem
from kled_wire.names import AgentId


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentView:
    """The current state of an agent.

    `metadata` and `apps` are in the template's order, None what is not known yet.
    """

    readiness: AgentReadiness
    runs: tuple[ScriptRun, ...]
    metadata: tuple[tuple[MetadataItem, Metadata | None], ...]
    apps: tuple[App, ...] = ()


@dataclass(slots=True, kw_only=True)
class ScriptView:
    """Looks at agents; changes nothing."""

    store: Store
    clock: Clock
    registry: Registry
    specs: Specs
    scripts: ScriptIntake

    async def of(self, details: Sequence[WorkspaceDetails]) -> dict[AgentId, AgentView]:
        """The agents of some workspaces. Raises StoreError."""
        ids = [agent.id for each in details for agent in each.agents]
        runs: dict[AgentId, list[ScriptRun]] = {}
        for run in await self.store.read(newest_script_runs, ids):
            runs.setdefault(run.agent_id, []).append(run)
        specs = await self._known_specs(details)
        return {
            agent.id: self._view(agent, each.latest_build, specs.get(agent.id), runs)
            for each in details
            for agent in each.agents
        }

    async def _known_specs(self, details: Sequence[WorkspaceDetails]) -> dict[AgentId, AgentSpec]:
        """As agents that are connected have it; else it has to be opened.

        So has that of the newest build: it has ended, and the agent may not be given it yet.
        """
        known: dict[AgentId, AgentSpec] = {}
        others: list[AgentId] = []
        for each in details:
            build = each.latest_build
            is_start = build is not None and build.transition == "start"
            for agent in each.agents:
                spec = self.scripts.live(agent.id).spec
                if spec is not None:
                    known[agent.id] = spec
                if is_start and build is not None and (spec is None or spec.build_id != build.id):
                    others.append(agent.id)
        return {**known, **(await self.specs.of(others) if others else {})}

    async def is_starting(self, details: WorkspaceDetails, runs: Sequence[ScriptRun]) -> bool:
        """Whether `runs`, of its newest start, may still become more, or print more.

        Of the agent that was asked for, where one was.
        """
        if any(run.stage == "start" and run.state not in ENDED for run in runs):
            return True
        views = await self.of([details])
        coming = {AgentStatus.CONNECTING, AgentStatus.STARTING}
        meant = [agent for agent in details.agents if details.asked in {None, agent.name}]
        return any(views[agent.id].readiness.status in coming for agent in meant)

    def _view(
        self,
        agent: AgentRecord,
        build: Build | None,
        spec: AgentSpec | None,
        runs: dict[AgentId, list[ScriptRun]],
    ) -> AgentView:
        live, ran = self.scripts.live(agent.id), runs.get(agent.id, [])
        starting = build is not None and build.transition == "start"
        seen = Seen(
            connected=self.registry.state(agent.id) is not None,
            last_seen_at=agent.last_seen_at,
            building=starting and build is not None and build.finished_at is None,
            started_at=build.started_at if build and starting else None,
            began_at=build.finished_at if build and starting else None,
            stopping=live.stopping,
            takes_scripts=live.takes_scripts,
            told=live.told,
        )
        at_start = [run for run in ran if run.stage == "start"]
        items = sorted(spec.metadata, key=lambda item: (item.order, item.key)) if spec else []
        return AgentView(
            readiness=decide_readiness(spec, seen, at_start, self.clock()),
            runs=tuple(ran),
            metadata=tuple((item, live.metadata.get(item.key)) for item in items),
            apps=tuple(sorted(spec.apps, key=lambda app: (app.order, app.slug))) if spec else (),
        )
