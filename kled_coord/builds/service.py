"""The builds service: queue, show and cancel builds, and read their logs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from kled_coord.builds.choosing import (
    AskedParameters,
    BuildChoice,
    build_active,
    choose_values,
)
from kled_coord.builds.logs import BuildProgress, End, follow_log
from kled_coord.builds.queue import Queue
from kled_coord.builds.timings import MeasuredStep, steps_of
from kled_coord.changes import QUEUE, Changes
from kled_coord.identity.audit import Audit
from kled_coord.identity.grants import grant_of
from kled_coord.policy.actions import Action, ActionTarget
from kled_coord.policy.decide import Caller, workspace_not_found
from kled_coord.sources import Clock, Ids
from kled_coord.store.build_changes import DecideAgain, DecideNew, queue_again, queue_build
from kled_coord.store.builds import NewBuild, build_by_id, build_notes, list_builds
from kled_coord.store.engine import Store
from kled_coord.store.errors import DuplicateError
from kled_coord.store.records import Build, LogLine, Workspace
from kled_coord.store.scripts import script_runs_of
from kled_coord.store.standing import as_caller
from kled_coord.store.template_records import TemplateVersion
from kled_coord.store.timings import build_timings
from kled_coord.store.versions import find_version, version_by_id
from kled_coord.store.workspaces import workspace_by_id, workspace_secrets
from kled_coord.workspaces.lifecycle import Transition
from kled_coord.workspaces.parameters import Parameters
from kled_coord.workspaces.service import Workspaces, version_archived
from kled_wire.errors import ConflictError, NotFoundError
from kled_wire.names import BuildId, WorkspaceId, WorkspaceRef

_ACTIONS: Final = {
    Transition.START: Action.WORKSPACE_START,
    Transition.STOP: Action.WORKSPACE_STOP,
    Transition.DELETE: Action.WORKSPACE_DELETE,
}
_RETRYABLE: Final = frozenset({"failed", "canceled"})


@dataclass(slots=True, kw_only=True)
class Builds:
    """Queues and shows builds."""

    store: Store
    clock: Clock
    ids: Ids
    audit: Audit
    changes: Changes
    queue: Queue
    workspaces: Workspaces
    workers: int

    async def create(
        self,
        caller: Caller,
        ref: WorkspaceRef,
        transition: Transition,
        *,
        version: int | str | None,
        orphan: bool,
        parameters: Mapping[str, str] | None = None,
        asked: AskedParameters | None = None,
        restart: bool = False,
    ) -> Build:
        """Queue a build. `version` None keeps the one that was applied last, and so do parameters
        that are not given; `orphan` deletes the workspace without destroying what it made. `asked`
        is what Terraform said of these parameters. With `restart` the start is queued once a stop
        has succeeded, which is returned.

        Raises NotFoundError, ForbiddenError, InputError, ConflictError("build_active"), and as
        Quotas.
        """
        actions = [_ACTIONS[transition], *([Action.WORKSPACE_STOP] if restart else [])]
        for action in actions:
            workspace = await self.workspaces.resolve(caller, ref, action)
        wanted = None if version is None else await self._version(workspace, version)
        choice = BuildChoice(
            transition=transition, wanted=wanted, parameters=parameters or {}, asked=asked
        )
        ids, now = [self.ids.new("bld") for _ in actions], self.clock()

        # Runs in the worker thread and in the transaction: a build that ends now may change both.
        def decide(now_is: Workspace, applied: TemplateVersion, sealed: bytes | None) -> NewBuild:
            kept = self.workspaces.kept_parameters(now_is, sealed)
            chosen = choose_values(now_is, applied, kept, choice)
            new = partial(NewBuild, workspace_id=now_is.id, user_id=caller.user_id, queued_at=now)
            build = new(
                id=ids[0],
                transition=transition,
                orphan=orphan and transition is Transition.DELETE,
                **self._chosen(now_is.id, wanted or applied, chosen),
            )
            if not restart:
                return build
            stop = self._chosen(now_is.id, applied, kept)
            return new(id=ids[1], transition=Transition.STOP, then=build, **stop)

        return await self._queue_build(caller, workspace, actions, queue_build, decide)

    async def next_values(
        self,
        caller: Caller,
        ref: WorkspaceRef,
        transition: Transition,
        *,
        version: int | str | None,
        parameters: Mapping[str, str],
        asked: AskedParameters | None,
    ) -> tuple[Workspace, TemplateVersion, Parameters]:
        """The version and the values that a build with these arguments would have.

        Raises as `create`.
        """
        workspace = await self.resolve(caller, ref, _ACTIONS[transition])
        wanted = None if version is None else await self._version(workspace, version)
        applied, kept = await self.next_start(workspace, None)
        choice = BuildChoice(
            transition=transition, wanted=wanted, parameters=parameters, asked=asked
        )
        return workspace, wanted or applied, choose_values(workspace, applied, kept, choice)

    async def resolve(self, caller: Caller, ref: WorkspaceRef, action: Action) -> Workspace:
        """As Workspaces.resolve."""
        return await self.workspaces.resolve(caller, ref, action)

    async def retry(self, caller: Caller, build_id: BuildId) -> Build:
        """Queue again the newest build of a workspace, which failed or was cancelled.

        It goes on from the state that was saved. Raises NotFoundError, ForbiddenError,
        ConflictError("build_not_retryable", "build_active"), and as Quotas.
        """
        failed = await self._find(caller, build_id, Action.WORKSPACE_READ)
        actions = [_ACTIONS[Transition(failed.transition)]]
        actions += [Action.WORKSPACE_START] if failed.then_start else []
        for action in actions:
            await self._find(caller, build_id, action)
        found = await self.store.read(workspace_by_id, failed.workspace_id)
        version = await self.store.read(version_by_id, failed.version_id)
        assert found is not None
        new_id, now = self.ids.new("bld"), self.clock()

        def decide(workspace: Workspace, newest: Build) -> NewBuild:
            if newest.id != build_id or newest.status not in _RETRYABLE:
                raise _not_retryable(failed, newest, workspace)
            if version.archived_at is not None and version.id != workspace.version_id:
                raise version_archived(version)
            return NewBuild(
                id=new_id,
                workspace_id=workspace.id,
                transition=newest.transition,
                version_id=newest.version_id,
                parameters=newest.parameters,
                secrets_sealed=None,
                ephemeral=newest.ephemeral or (),
                orphan=newest.orphan,
                user_id=caller.user_id,
                queued_at=now,
            )

        return await self._queue_build(caller, found, actions, queue_again, decide)

    async def stop_unused(self, workspace: Workspace, why: str) -> None:
        """Queue a stop on behalf of the owner, unless something else is going on there by now.

        Raises KledError("sealed_unreadable"), StoreError.
        """
        new_id, now = self.ids.new("bld"), self.clock()

        def decide(now_is: Workspace, applied: TemplateVersion, sealed: bytes | None) -> NewBuild:
            kept = self.workspaces.kept_parameters(now_is, sealed)
            return NewBuild(
                id=new_id,
                workspace_id=now_is.id,
                transition=Transition.STOP,
                orphan=False,
                user_id=now_is.owner_id,
                queued_at=now,
                **self._chosen(now_is.id, applied, kept),
            )

        try:
            build = await self.store.write(queue_build, workspace.id, decide)
        except DuplicateError:
            return
        self.changes.notify(QUEUE)
        resource = ActionTarget(kind="workspace", name=workspace.id, owner_id=workspace.owner_id)
        detail = f"{build.id}: {why}"
        await self.audit.note(None, Action.WORKSPACE_STOP, resource, detail=detail)

    def _chosen(
        self, workspace_id: WorkspaceId, version: TemplateVersion, chosen: Parameters
    ) -> dict[str, Any]:
        """The fields of a NewBuild that say of which version it is, and with which values."""
        return {
            "version_id": version.id,
            "parameters": chosen.shown,
            "secrets_sealed": self.workspaces.seal_parameters(workspace_id, chosen),
            "ephemeral": sorted(chosen.ephemeral),
        }

    async def _queue_build(
        self,
        caller: Caller,
        workspace: Workspace,
        actions: Sequence[Action],
        query: Callable[..., Build],
        decide: DecideNew | DecideAgain,
    ) -> Build:
        """Queue what `decide` makes for `query`; `actions` are what the caller does with it."""
        try:
            build = await self.store.write(
                as_caller,
                grant_of(caller),
                caller.role,
                query,
                workspace.id,
                decide,
                self.workspaces.quotas.check_build,
            )
        except DuplicateError as error:
            raise build_active(workspace) from error
        self.changes.notify(QUEUE)
        resource = ActionTarget(kind="workspace", name=workspace.id, owner_id=workspace.owner_id)
        for action in actions:
            await self.audit.record(caller, action, resource, detail=build.id)
        return build

    async def next_start(
        self, workspace: Workspace, wanted: int | str | None
    ) -> tuple[TemplateVersion, Parameters]:
        """The version that a start with `wanted` is of, and what the workspace has so far.

        Raises NotFoundError("version_not_found"), KledError("sealed_unreadable").
        """
        if wanted is None:
            version = await self.store.read(version_by_id, workspace.version_id)
        else:
            version = await self._version(workspace, wanted)
        sealed = await self.store.read(workspace_secrets, workspace.id)
        return version, self.workspaces.kept_parameters(workspace, sealed)

    async def _version(self, workspace: Workspace, wanted: int | str) -> TemplateVersion:
        found = await self.store.read(find_version, workspace.template_id, wanted)
        if found is None:
            raise NotFoundError(
                "version_not_found",
                f"the template {workspace.template} has no version {wanted}",
                hint=f"kled template versions {workspace.template}",
            )
        return found

    async def list_for(self, caller: Caller, ref: WorkspaceRef) -> list[Build]:
        """A workspace's builds, the newest first."""
        workspace = await self.workspaces.resolve(caller, ref, Action.WORKSPACE_READ)
        return await self.store.read(list_builds, workspace.id)

    async def get(self, caller: Caller, build_id: BuildId) -> Build:
        """One build. Raises NotFoundError("build_not_found")."""
        return await self._find(caller, build_id, Action.WORKSPACE_READ)

    async def notes(self, build: Build) -> list[dict[str, Any]]:
        """What its template notes on its resources (builds/states/notes.py)."""
        return await self.store.read(build_notes, build.id)

    async def log(
        self, caller: Caller, build_id: BuildId, *, after: int, follow: bool
    ) -> AsyncIterator[LogLine | BuildProgress | End]:
        """A build's log from line `after` on. Raises NotFoundError before the first line."""
        await self._find(caller, build_id, Action.WORKSPACE_READ)
        return follow_log(
            self.store,
            self.changes,
            build_id,
            after=after,
            follow=follow,
            workers=self.workers,
        )

    async def cancel(self, caller: Caller, build_id: BuildId, *, force: bool = False) -> Build:
        """Ask a build to stop; `force` kills its Terraform, and what it has saved is kept.

        Raises NotFoundError, ConflictError("build_not_active").
        """
        build = await self._find(caller, build_id, Action.BUILD_CANCEL)
        canceled = await self.queue.cancel(build.id, force=force)
        resource = ActionTarget(kind="build", name=build.id)
        await self.audit.record(
            caller, Action.BUILD_CANCEL, resource, detail="by force" if force else ""
        )
        return canceled

    async def timings(self, caller: Caller, build_id: BuildId) -> list[MeasuredStep]:
        """How long each step of a build took. Raises NotFoundError."""
        build = await self._find(caller, build_id, Action.WORKSPACE_READ)
        measured, arrivals = await self.store.read(build_timings, build.id)
        return steps_of(build, measured, arrivals, await self.store.read(script_runs_of, build.id))

    async def wait_change(self, build_id: BuildId) -> None:
        """Return at the next change of a build."""
        await self.changes.next_change(build_id).wait()

    async def _find(self, caller: Caller, build_id: BuildId, action: Action) -> Build:
        build = await self.store.read(build_by_id, build_id)
        not_found = NotFoundError("build_not_found", f"there is no build {build_id[:40]}")
        if build is None:
            raise not_found
        workspace = await self.store.read(workspace_by_id, build.workspace_id)
        if workspace is None:
            raise workspace_not_found(WorkspaceId(build.workspace_id))
        resource = ActionTarget(kind="workspace", name=workspace.id, owner_id=workspace.owner_id)
        try:
            await self.audit.require(caller, action, resource)
        except NotFoundError as error:
            raise not_found from error
        return build


def _not_retryable(asked: Build, newest: Build, workspace: Workspace) -> ConflictError:
    name = workspace.name
    if newest.id != asked.id:
        return ConflictError(
            "build_not_retryable",
            f"build {asked.number} of {name} is not its newest: that is build {newest.number}",
            hint=f"kled builds {name}",
        )
    return ConflictError(
        "build_not_retryable",
        f"build {newest.number} of {name} is {newest.status}; only one that failed or was "
        "canceled can be retried",
        hint=f"kled start {name}" if newest.status == "succeeded" else f"kled logs -f {name}",
    )
