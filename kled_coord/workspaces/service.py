"""The workspaces service: finds them by reference through the policy, creates and lists them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final

from kled_coord.changes import QUEUE, Changes
from kled_coord.identity.audit import Audit
from kled_coord.identity.grants import grant_of
from kled_coord.policy.actions import Action, ActionTarget
from kled_coord.policy.decide import Caller, decide, workspace_not_found
from kled_coord.sources import Clock, Ids
from kled_coord.store.agents import agents_of
from kled_coord.store.build_changes import create_workspace
from kled_coord.store.builds import NewBuild, latest_builds, workspace_notes
from kled_coord.store.engine import Store
from kled_coord.store.errors import DuplicateError
from kled_coord.store.records import AgentRecord, Build, Workspace
from kled_coord.store.sealing import Sealer
from kled_coord.store.standing import as_caller
from kled_coord.store.template_records import TemplateParameter, TemplateVersion
from kled_coord.store.templates import template_by_name
from kled_coord.store.users import user_by_name
from kled_coord.store.workspaces import (
    SORTS,
    find_workspaces,
    mark_workspace_used,
    workspace_by_id,
    workspace_by_name,
)
from kled_coord.workspaces.choice import choose_agent
from kled_coord.workspaces.parameters import NONE as NO_PARAMETERS
from kled_coord.workspaces.parameters import Parameters, decide_parameters, open_parameters
from kled_coord.workspaces.quotas import UserQuotas
from kled_coord.workspaces.search import parse_search
from kled_wire.errors import (
    ConflictError,
    ForbiddenError,
    InputError,
    KledError,
    NotFoundError,
)
from kled_wire.names import UserId, WorkspaceId, WorkspaceRef, check_new_workspace_name

EVERYBODY: Final = "*"
EVERYBODY_USES: Final = "everybody"
_USED_EVERY: Final = timedelta(seconds=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkspaceDetails:
    """A workspace with its agents (as last heard of) and its newest build.

    `asked` is the name of the agent that somebody meant, None where they named the workspace alone.
    """

    workspace: Workspace
    agents: tuple[AgentRecord, ...]
    latest_build: Build | None
    asked: str | None = None

    @property
    def agent(self) -> AgentRecord | None:
        """The agent that was asked for; None where there is none, or none is meant."""
        try:
            return choose_agent(self.agents, self.asked)
        except KledError:
            return None


@dataclass(slots=True, kw_only=True)
class Workspaces:
    """Creates, shows, changes and searches workspaces; Builds does the rest."""

    store: Store
    clock: Clock
    ids: Ids
    audit: Audit
    changes: Changes
    sealer: Sealer
    quotas: UserQuotas

    async def resolve(self, caller: Caller, ref: WorkspaceRef, action: Action) -> Workspace:
        """The workspace somebody named, alone or with one of its agents. Raises as `locate`."""
        return (await self.locate(caller, ref, action))[0]

    async def locate(
        self, caller: Caller, ref: WorkspaceRef, action: Action
    ) -> tuple[Workspace, str | None]:
        """The workspace somebody named, if they may do `action` to it, and the agent they named.

        Raises NotFoundError("workspace_not_found") also for one they may not know of, and
        ForbiddenError.
        """
        workspace, agent = await self._find(ref, ref.owner or caller.user_name)
        # Asked for what is not there too: the policy's answer and its audit row take time, which
        # must not tell a foreign workspace from none.
        if workspace is not None:
            owner_id: str | None = workspace.owner_id
        else:
            own = ref.id is None and ref.owner in {None, caller.user_name}
            owner_id = caller.user_id if own else None
        resource = ActionTarget(kind="workspace", name=str(ref), owner_id=owner_id)
        try:
            await self.audit.require(caller, action, resource)
        except ForbiddenError:
            # A person who may read such a workspace is told that it does not exist, not that
            # entering is forbidden.
            if workspace is None and decide(caller, Action.WORKSPACE_READ, resource).allowed:
                raise workspace_not_found(str(ref)) from None
            raise
        if workspace is None:
            raise workspace_not_found(str(ref))
        return workspace, agent

    async def _find(self, ref: WorkspaceRef, owner: str) -> tuple[Workspace | None, str | None]:
        """What a reference means, as the first of its readings that is there."""
        if ref.id is not None:
            found = await self.store.read(workspace_by_id, ref.id)
            return (found if found and found.status != "deleted" else None), None
        for name, agent in ref.readings():
            found = await self.store.read(workspace_by_name, owner, name)
            if found is not None and found.status != "deleted":
                return found, agent
        return None, None

    async def agent_of(self, workspace_id: WorkspaceId, asked: str | None = None) -> AgentRecord:
        """The agent that was asked for, or is meant. Raises as `choose_agent` says."""
        return choose_agent(await self.store.read(agents_of, [workspace_id]), asked)

    async def notes(self, workspace_id: WorkspaceId) -> list[dict[str, Any]]:
        """What the template notes on its resources, as the last build that succeeded left them."""
        return await self.store.read(workspace_notes, workspace_id)

    async def touch(self, workspace_id: WorkspaceId) -> None:
        """Remember that somebody uses the workspace; writes at most twice a minute."""
        workspace = await self.store.read(workspace_by_id, workspace_id)
        now = self.clock()
        if workspace is None:
            return
        if workspace.last_used_at is None or now - workspace.last_used_at >= _USED_EVERY:
            await self.store.write(mark_workspace_used, workspace_id, now)

    async def list_for(
        self, caller: Caller, owner: str | None, search: str = "", sort: str = "owner"
    ) -> list[WorkspaceDetails]:
        """The workspaces of one owner, None for the caller's own, "*" for everybody's.

        A `search` (search.py) that names owners itself goes before None; `sort` is one of SORTS.
        Those that the caller may not know of are left out. Raises NotFoundError("user_not_found"),
        InputError("search_invalid", "sort_invalid").
        """
        wanted = parse_search(search, caller.user_name)
        if sort.removeprefix("-") not in SORTS:
            hint = f"one of {', '.join(SORTS)}, with - before it the other way round"
            raise InputError("sort_invalid", f"nothing can be sorted by {sort}", hint=hint)
        seen = _visible_owners(caller)
        if owner is not None and owner != EVERYBODY:
            seen = _both(seen, {await self._owner_id(caller, owner)})
        elif owner is None and not wanted.owners:
            seen = _both(seen, {caller.user_id})
        found = await self.store.read(find_workspaces, wanted, owner_ids=seen, sort=sort)
        return await self.details(found)

    async def _owner_id(self, caller: Caller, owner: str) -> UserId:
        if owner == caller.user_name:
            return caller.user_id
        user = await self.store.read(user_by_name, owner)
        may_know = decide(caller, Action.USER_READ, ActionTarget(kind="user", name="*")).allowed
        if user is None or not may_know:
            # The same words for both: who may not see users learns no names.
            raise NotFoundError("user_not_found", f"there is no user {owner} that you may see")
        return user.id

    async def details(self, workspaces: Sequence[Workspace]) -> list[WorkspaceDetails]:
        """Add agents and newest builds."""
        ids = [workspace.id for workspace in workspaces]
        agents: dict[WorkspaceId, list[AgentRecord]] = {}
        for agent in await self.store.read(agents_of, ids):
            agents.setdefault(agent.workspace_id, []).append(agent)
        builds = {b.workspace_id: b for b in await self.store.read(latest_builds, ids)}
        return [
            WorkspaceDetails(
                workspace=w, agents=tuple(agents.get(w.id, ())), latest_build=builds.get(w.id)
            )
            for w in workspaces
        ]

    async def get(self, workspace_id: WorkspaceId, asked: str | None = None) -> WorkspaceDetails:
        """One workspace again, after it may have changed. Raises NotFoundError."""
        workspace = await self.store.read(workspace_by_id, workspace_id)
        if workspace is None:
            raise NotFoundError("workspace_not_found", f"there is no workspace {workspace_id}")
        (details,) = await self.details([workspace])
        return replace(details, asked=asked)

    async def create(
        self,
        caller: Caller,
        *,
        name: str,
        version: TemplateVersion,
        parameters: Mapping[str, str],
        kept: Parameters = NO_PARAMETERS,
        asked: Sequence[TemplateParameter] | None = None,
    ) -> WorkspaceDetails:
        """Add a workspace of the caller's and queue its first build.

        `kept` are another workspace's values, `asked` as for `decide_parameters`. Raises
        InputError, ConflictError("workspace_exists"), NotFoundError("template_not_found"),
        ForbiddenError, and as Quotas.
        """
        check_new_workspace_name(name)
        resource = ActionTarget(kind="workspace", name=name, owner_id=caller.user_id)
        await self.audit.require(caller, Action.WORKSPACE_CREATE, resource)
        await self._check_usable(caller, version)
        if version.archived_at is not None:
            raise version_archived(version)
        chosen = decide_parameters(version, kept, parameters, asked=asked)
        workspace = self._new(caller, name, version, chosen)
        try:
            build = await self.store.write(
                as_caller,
                grant_of(caller),
                caller.role,
                create_workspace,
                workspace,
                self._first_build(workspace, chosen),
                self.quotas.check_workspace,
                self.quotas.check_build,
            )
        except DuplicateError as error:
            raise workspace_exists(name) from error
        self.changes.notify(QUEUE)
        await self.audit.record(caller, Action.WORKSPACE_CREATE, resource, detail=workspace.id)
        return WorkspaceDetails(workspace=workspace, agents=(), latest_build=build)

    async def _check_usable(self, caller: Caller, version: TemplateVersion) -> None:
        """Whether a caller may make workspaces of the template. Raises ForbiddenError."""
        template = await self.store.read(template_by_name, version.template)
        about = ActionTarget(kind="template", name=version.template)
        is_theirs = decide(caller, Action.TEMPLATE_WRITE, about).allowed
        if template is not None and template.usable_by != EVERYBODY_USES and not is_theirs:
            raise ForbiddenError(
                "template_restricted",
                f"only template admins may make workspaces of {version.template}",
                hint="kled template list shows the others",
            )

    def kept_parameters(self, workspace: Workspace, sealed: bytes | None) -> Parameters:
        """What was applied last; `sealed` is the workspace's own column. Raises KledError."""
        return open_parameters(self.sealer, workspace.id, workspace.parameters, sealed)

    def seal_parameters(self, workspace_id: WorkspaceId, chosen: Parameters) -> bytes | None:
        """The column of a build's sensitive values."""
        return chosen.seal(self.sealer, workspace_id)

    def _new(
        self,
        caller: Caller,
        name: str,
        version: TemplateVersion,
        parameters: Parameters,
    ) -> Workspace:
        now = self.clock()
        return Workspace(
            id=WorkspaceId(self.ids.new("ws")),
            name=name,
            owner_id=caller.user_id,
            owner_name=caller.user_name,
            template_id=version.template_id,
            template=version.template,
            version_id=version.id,
            template_version=version.number,
            status="pending",
            parameters=parameters.lasting,
            created_at=now,
            updated_at=now,
            last_used_at=None,
        )

    def _first_build(self, workspace: Workspace, chosen: Parameters) -> NewBuild:
        return NewBuild(
            id=self.ids.new("bld"),
            workspace_id=workspace.id,
            transition="start",
            version_id=workspace.version_id,
            parameters=chosen.shown,
            secrets_sealed=chosen.seal(self.sealer, workspace.id),
            ephemeral=sorted(chosen.ephemeral),
            orphan=False,
            user_id=workspace.owner_id,
            queued_at=workspace.created_at,
        )


def _visible_owners(caller: Caller) -> frozenset[UserId] | None:
    """Whose workspaces the caller may know of; None: everybody's."""

    def may_read(owner_id: UserId | None) -> bool:
        resource = ActionTarget(kind="workspace", owner_id=owner_id)
        return decide(caller, Action.WORKSPACE_READ, resource).allowed

    if may_read(None):
        return None
    return frozenset({caller.user_id} if may_read(caller.user_id) else ())


def _both(seen: frozenset[UserId] | None, wanted: Collection[UserId]) -> frozenset[UserId]:
    return frozenset(wanted) if seen is None else seen & frozenset(wanted)


def workspace_exists(name: str) -> ConflictError:
    """What is said where the owner has a workspace of that name."""
    return ConflictError(
        "workspace_exists",
        f"there is a workspace {name} already",
        hint=f"kled show {name}, or choose another name",
    )


def version_archived(version: TemplateVersion) -> ConflictError:
    """What is said of a version of which nothing new is made."""
    return ConflictError(
        "version_archived",
        f"version {version.number} of the template {version.template} is archived",
        hint=f"kled template versions {version.template}",
    )
