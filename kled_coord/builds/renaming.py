"""Renames a workspace, where that costs nothing: volumes and other things carry its name.

So Terraform plans under the new name first. A plan that destroys or replaces anything refuses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from kled_coord.builds.choosing import build_active
from kled_coord.builds.previews import Previews
from kled_coord.builds.states.backend import States
from kled_coord.builds.transitions import ENDED
from kled_coord.identity.audit import Audit
from kled_coord.identity.grants import grant_of
from kled_coord.policy.actions import Action, ActionTarget
from kled_coord.policy.decide import Caller
from kled_coord.sources import Clock
from kled_coord.store.builds import latest_builds
from kled_coord.store.engine import Store
from kled_coord.store.errors import DuplicateError
from kled_coord.store.records import Build, Workspace
from kled_coord.store.renaming import is_name_taken, rename_workspace
from kled_coord.store.standing import as_caller
from kled_coord.terraform.output.changes import ResourceChange
from kled_coord.workspaces.service import Workspaces, workspace_exists
from kled_wire.errors import ConflictError
from kled_wire.names import WorkspaceRef, check_new_workspace_name

# How many resources an error names.
_NAMED_MAX: Final = 5


@dataclass(slots=True, kw_only=True)
class Renaming:
    """Gives workspaces other names."""

    store: Store
    clock: Clock
    audit: Audit
    workspaces: Workspaces
    previews: Previews
    states: States

    async def rename(
        self, caller: Caller, ref: WorkspaceRef, name: str
    ) -> tuple[Workspace, Sequence[ResourceChange]]:
        """Rename a workspace that does not run; returns it, and what its next build will change.

        Raises InputError, ConflictError("workspace_exists", "workspace_running", "build_active",
        "rename_destroys"), and as Previews.
        """
        check_new_workspace_name(name)
        workspace = await self.workspaces.resolve(caller, ref, Action.WORKSPACE_RENAME)
        await self._check_free(workspace, name)
        newest = await self._newest(workspace)
        _check_idle(workspace, newest)
        changes = await self._plan(caller, workspace, name)

        # Runs in the transaction: a build since the plan may have made resources that have the
        # name.
        def check(now_is: Workspace, last: Build | None) -> None:
            _check_idle(now_is, last)
            if now_is.name != workspace.name or (last and last.id) != (newest and newest.id):
                raise build_active(now_is)

        try:
            await self.store.write(
                as_caller,
                grant_of(caller),
                caller.role,
                rename_workspace,
                workspace.id,
                name,
                check,
                self.clock(),
            )
        except DuplicateError as error:
            raise workspace_exists(name) from error
        target = ActionTarget(kind="workspace", name=workspace.id, owner_id=workspace.owner_id)
        detail = f"{workspace.name} to {name}"
        await self.audit.record(caller, Action.WORKSPACE_RENAME, target, detail=detail)
        return replace(workspace, name=name), changes

    async def _check_free(self, workspace: Workspace, name: str) -> None:
        """Raise before Terraform has to plan; the transaction decides."""
        if await self.store.read(is_name_taken, workspace.owner_id, name):
            raise workspace_exists(name)

    async def _newest(self, workspace: Workspace) -> Build | None:
        return next(iter(await self.store.read(latest_builds, [workspace.id])), None)

    async def _plan(
        self, caller: Caller, workspace: Workspace, name: str
    ) -> Sequence[ResourceChange]:
        if await self.states.is_empty(workspace.id):
            return ()
        renamed = replace(workspace, name=name)
        planned = await self.previews.of_now(caller, renamed)
        if planned.destroyed:
            raise _destroys(workspace, name, planned.destroyed)
        # A change that the next build would make under the old name too is not due to the new name.
        before = await self.previews.of_now(caller, workspace)
        return [change for change in planned.changes if change not in before.changes]


def _check_idle(workspace: Workspace, newest: Build | None) -> None:
    if newest is not None and newest.status not in ENDED:
        raise build_active(workspace)
    if workspace.status == "running":
        raise ConflictError(
            "workspace_running",
            f"{workspace.name} runs, and its agent is known by that name",
            hint=f"kled stop {workspace.name} first",
        )


def _destroys(workspace: Workspace, name: str, addresses: Sequence[str]) -> ConflictError:
    more = ["…"] if len(addresses) > _NAMED_MAX else []
    return ConflictError(
        "rename_destroys",
        f"as {name} Terraform would destroy or replace what {workspace.name} has: "
        + ", ".join([*addresses[:_NAMED_MAX], *more]),
        hint=f"kled create {name} --copy-from {workspace.name} makes another workspace",
    )
