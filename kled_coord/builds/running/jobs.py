"""Makes the job of a claimed build: its template, its values, and the host of its providers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import structlog
import trio

from kled_coord.builds.host import BuildHost
from kled_coord.builds.job import Job, Reporter, describe_subject
from kled_coord.builds.queue import ClaimedBuild
from kled_coord.builds.running.variables import open_fixed, values_of
from kled_coord.builds.states.applied import AppliedAgent, applied_agents
from kled_coord.builds.states.backend import States
from kled_coord.builds.states.notes import applied_notes, tell_notes
from kled_coord.builds.states.sensitive import sensitive_values
from kled_coord.bundles.store import BundleStore
from kled_coord.sandbox.choice import SandboxChoice
from kled_coord.scripts.service import ScriptIntake
from kled_coord.store.builds import build_secrets
from kled_coord.store.engine import Store
from kled_coord.store.records import Build
from kled_coord.store.sealing import Sealer
from kled_coord.store.templates import build_quiet_of
from kled_coord.store.users import user_by_id
from kled_coord.store.versions import version_archive, version_by_id, version_fixed_sealed
from kled_coord.store.workspaces import workspace_by_id
from kled_coord.terraform.process.varfile import Value
from kled_coord.terraform.source.variables import sensitive_defaults
from kled_coord.workspaces.agents import Agents
from kled_coord.workspaces.parameters import open_parameters
from kled_coord.workspaces.specs import Specs
from kled_wire.errors import KledError
from kled_wire.names import AgentId, WorkspaceId
from kled_wire.trees import discard_tree

# What a state contains: its agents, and the notes of its template.
_Found = tuple[Mapping[AgentId, AppliedAgent], Sequence[Mapping[str, Any]]]

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """URLs (without a trailing slash) and directories that a build needs."""

    bundles: BundleStore
    access_url: str
    state_url: str
    processes: Path


@dataclass(slots=True, kw_only=True)
class Jobs:
    """Puts a job together, and clears up what a deleted workspace has."""

    store: Store
    states: States
    sealer: Sealer
    agents: Agents
    specs: Specs
    scripts: ScriptIntake
    places: Places
    sandbox: SandboxChoice

    async def make(self, claimed: ClaimedBuild, *, directory: Path, forced: trio.Event) -> Job:
        """The job of a claimed build. Raises StoreError, KledError."""
        build, began = claimed.build, trio.current_time()
        workspace = await self.store.read(workspace_by_id, build.workspace_id)
        version = await self.store.read(version_by_id, build.version_id)
        assert workspace is not None
        owner = await self.store.read(user_by_id, workspace.owner_id)
        is_empty = await self._is_empty(build)
        archive = await self.store.read(version_archive, build.version_id)
        return Job(
            build=build,
            subject=describe_subject(
                workspace, version, build.parameters, owner, build.transition, build_id=build.id
            ),
            archive=archive,
            defaults=await trio.to_thread.run_sync(sensitive_defaults, archive),
            is_empty=is_empty,
            variables={} if is_empty or build.orphan else await self._values(build),
            state_url=f"{self.places.state_url}/api/v1/tfstate/{workspace.id}",
            state_secret=claimed.secret,
            directory=directory,
            quiet_s=await self.store.read(build_quiet_of, workspace.template_id),
            began=began,
            forced=forced,
        )

    async def secrets(self, job: Job) -> list[str]:
        """What the build must not show: values it is given or finds in template and state.

        Raises StoreError, KledError.
        """
        given = [value.text for value in job.variables.values() if value.is_secret]
        marked = await self.states.look(job.workspace.id, sensitive_values)
        return [*given, *job.defaults, *marked]

    def host(self, job: Job, reporter: Reporter) -> BuildHost:
        """What the providers ask during the build."""
        return BuildHost(
            subject=job.subject,
            agents=self.agents,
            reporter=reporter,
            access_url=self.places.access_url,
            bundles=self.places.bundles,
            processes=self.places.processes,
            sandbox=self.sandbox,
        )

    async def shut_down(self, job: Job, reporter: Reporter) -> None:
        """Before a stop or delete: have the agents run their shutdown scripts, in bounded time."""
        if job.build.transition == "start" or job.build.orphan:
            return
        await self.scripts.stop(job.workspace.id, partial(reporter.line, "info"))

    async def keep_applied(self, job: Job, reporter: Reporter) -> None:
        """After Terraform's run: keep what the state says of agents, and what it notes.

        Raises InputError where that cannot be, StoreError, KledError.
        """
        is_start = job.build.transition == "start"

        def look(state: Mapping[str, Any]) -> _Found:
            return applied_agents(state, job.build.id) if is_start else {}, applied_notes(state)

        found, notes = await self.states.look(job.workspace.id, look)
        if is_start:
            specs = {agent_id: agent.spec for agent_id, agent in found.items()}
            await self.specs.save(job.workspace.id, specs)
            if found:  # else no state says which agents there are
                names = {agent_id: agent.name for agent_id, agent in found.items()}
                await self.agents.settle(job.workspace.id, names)
        await reporter.notes(notes)
        for line in tell_notes(notes):
            await reporter.line("info", line)

    async def tell_agents(self, build: Build) -> None:
        """Agents that are connected go by what is applied now; others hear it when they come."""
        try:
            await self.scripts.give(build.workspace_id)
        except KledError as error:
            log.warning("agent_specs_not_given", build=build.id, reason=error.message)

    async def clear(self, job: Job) -> None:
        """The workspace is gone: remove what its processes have on this machine."""
        directory = self.places.processes / job.workspace.id
        await trio.to_thread.run_sync(discard_tree, directory)

    async def _is_empty(self, build: Build) -> bool:
        is_destroyed = build.transition == "delete" and not build.orphan
        return is_destroyed and await self.states.is_empty(WorkspaceId(build.workspace_id))

    async def _values(self, build: Build) -> Mapping[str, Value]:
        version = await self.store.read(version_by_id, build.version_id)
        sealed = await self.store.read(build_secrets, build.id)
        workspace_id = WorkspaceId(build.workspace_id)
        found = open_parameters(self.sealer, workspace_id, build.parameters, sealed)
        fixed = await self.store.read(version_fixed_sealed, version.id)
        return values_of(version, found, open_fixed(self.sealer, version, fixed))
