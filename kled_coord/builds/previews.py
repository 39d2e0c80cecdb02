"""Plans without a build: what a start, stop or delete would change, and what has drifted.

Terraform works on a copy of the state, in a directory that goes with the answer. Nothing is queued,
no lock is taken, and nobody else's build waits for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import trio

from kled_coord.builds.choosing import AskedParameters, build_active
from kled_coord.builds.host import PreviewHost
from kled_coord.builds.job import describe_subject
from kled_coord.builds.runner import BuildPlanner, PlanInquiry
from kled_coord.builds.running.variables import open_fixed, values_of
from kled_coord.builds.service import Builds
from kled_coord.builds.states.backend import States
from kled_coord.builds.transitions import ENDED
from kled_coord.builds.turns import Turns
from kled_coord.bundles.store import BundleStore
from kled_coord.policy.actions import Action
from kled_coord.policy.decide import Caller
from kled_coord.store.builds import latest_builds
from kled_coord.store.engine import Store
from kled_coord.store.records import Workspace
from kled_coord.store.sealing import Sealer
from kled_coord.store.template_records import TemplateVersion
from kled_coord.store.users import user_by_id
from kled_coord.store.versions import version_archive, version_fixed_sealed
from kled_coord.terraform.output.changes import PlannedChanges
from kled_coord.workspaces.agents import Agents
from kled_coord.workspaces.lifecycle import Transition
from kled_coord.workspaces.parameters import Parameters
from kled_wire.errors import UnavailableError
from kled_wire.names import WorkspaceRef

# For one user, and it counts the one that is being planned.
_WAITING_MAX: Final = 4
# Terraform processes at once, beside those of the builds.
_AT_ONCE: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewPlaces:
    """What the providers tell a template of this coordinator, as in a build."""

    bundles: BundleStore
    access_url: str
    processes: Path


@dataclass(slots=True, kw_only=True)
class Previews:
    """Lets Terraform plan; `deadline_s` is for one plan, with the `init` before it."""

    store: Store
    sealer: Sealer
    states: States
    builds: Builds
    agents: Agents
    places: PreviewPlaces
    plan_build: BuildPlanner
    deadline_s: float
    _turns: Turns = field(
        init=False, default_factory=lambda: Turns(waiting_max=_WAITING_MAX, at_once=_AT_ONCE)
    )

    async def plan(
        self,
        caller: Caller,
        ref: WorkspaceRef,
        transition: Transition,
        *,
        version: int | str | None = None,
        parameters: Mapping[str, str] | None = None,
        asked: AskedParameters | None = None,
    ) -> PlannedChanges:
        """What `Builds.create` with the same arguments would change.

        Raises what that raises, LimitError("plans_busy"), UnavailableError("plan_timeout"), and
        KledError with Terraform's words.
        """
        workspace, of, chosen = await self.builds.next_values(
            caller, ref, transition, version=version, parameters=parameters or {}, asked=asked
        )
        return await self._preview(caller, workspace, of, chosen, transition)

    async def drift(self, caller: Caller, ref: WorkspaceRef) -> PlannedChanges:
        """The resources that differ from the state, in `drift`. Raises as `plan`.

        Who may start the workspace may ask: the answer shows what is in it.
        """
        workspace = await self.builds.resolve(caller, ref, Action.WORKSPACE_START)
        return await self.of_now(caller, workspace, refresh_only=True)

    async def of_now(
        self, caller: Caller, workspace: Workspace, *, refresh_only: bool = False
    ) -> PlannedChanges:
        """The plan that keeps a workspace as it is: running or stopped, version and values.

        `workspace` may have another name than it has. Raises as `plan`.
        """
        of, chosen = await self.builds.next_start(workspace, None)
        transition = Transition.START if workspace.status == "running" else Transition.STOP
        return await self._preview(
            caller, workspace, of, chosen, transition, refresh_only=refresh_only
        )

    async def _preview(
        self,
        caller: Caller,
        workspace: Workspace,
        version: TemplateVersion,
        chosen: Parameters,
        transition: Transition,
        *,
        refresh_only: bool = False,
    ) -> PlannedChanges:
        latest = await self.store.read(latest_builds, [workspace.id])
        if latest and latest[0].status not in ENDED:
            raise build_active(workspace)
        async with self._turns.of(caller.user_id, "plans_busy", "plans"), self._turns.running():
            fixed = await self.store.read(version_fixed_sealed, version.id)
            inquiry = PlanInquiry(
                template=await self.store.read(version_archive, version.id),
                state=await self.states.newest(workspace.id),
                variables=values_of(version, chosen, open_fixed(self.sealer, version, fixed)),
                destroy=transition is Transition.DELETE,
                refresh_only=refresh_only,
            )
            host = await self._host(workspace, version, chosen, transition)
            with trio.move_on_after(self.deadline_s):
                return await self.plan_build(inquiry, host)
        raise UnavailableError(
            "plan_timeout",
            f"Terraform did not plan within {self.deadline_s:.0f} s",
            hint="check_deadline_s says how long it may take",
        )

    async def _host(
        self,
        workspace: Workspace,
        version: TemplateVersion,
        chosen: Parameters,
        transition: Transition,
    ) -> PreviewHost:
        owner = await self.store.read(user_by_id, workspace.owner_id)
        return PreviewHost(
            subject=describe_subject(
                workspace, version, chosen.shown, owner, transition, build_id="bld_none"
            ),
            agents=self.agents,
            access_url=self.places.access_url,
            bundles=self.places.bundles,
            processes=self.places.processes,
        )
