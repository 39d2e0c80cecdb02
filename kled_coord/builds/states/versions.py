"""The versions of a workspace's state, and their way out and in again for an admin.

A state holds every secret of its workspace, and a pushed one decides what a delete destroys. So a
push follows the state that is kept (same lineage, higher serial), no build goes on, nobody holds
the lock, and both ways are in the audit log.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from kled_coord.builds.choosing import build_active
from kled_coord.builds.states.backend import StateLockedError
from kled_coord.builds.states.file import check_state, is_successor
from kled_coord.builds.states.sealed import SealedStates
from kled_coord.builds.transitions import ENDED
from kled_coord.identity.audit import Audit
from kled_coord.identity.grants import grant_of
from kled_coord.policy.actions import Action, ActionTarget
from kled_coord.policy.decide import Caller
from kled_coord.sources import Clock
from kled_coord.store.builds import latest_builds
from kled_coord.store.engine import Store
from kled_coord.store.records import StateRecord, Workspace
from kled_coord.store.sealing import Sealer
from kled_coord.store.standing import as_caller
from kled_coord.store.states import list_states, next_state_version, state_lock
from kled_coord.workspaces.service import Workspaces
from kled_wire.errors import ConflictError, NotFoundError
from kled_wire.names import WorkspaceRef


class StateVersions:
    """Shows, gives out and takes versions of states."""

    def __init__(
        self, *, store: Store, clock: Clock, audit: Audit, workspaces: Workspaces, sealer: Sealer
    ) -> None:
        self._store = store
        self._clock = clock
        self._audit = audit
        self._workspaces = workspaces
        self._sealed = SealedStates(sealer)

    async def list_for(self, caller: Caller, ref: WorkspaceRef) -> list[StateRecord]:
        """The versions that are kept, the newest first, without what is in them."""
        workspace = await self._workspaces.resolve(caller, ref, Action.WORKSPACE_READ)
        return await self._store.read(list_states, workspace.id)

    async def pull(self, caller: Caller, ref: WorkspaceRef, version: int | None) -> bytes:
        """A version's content as Terraform wrote it; None: the newest.

        Raises NotFoundError("state_not_found"), ForbiddenError.
        """
        workspace = await self._workspaces.resolve(caller, ref, Action.STATE_PULL)
        if version is None:
            number, content = await self._store.read(self._sealed.newest, workspace.id)
        else:
            number = version
            content = await self._store.read(self._sealed.version, workspace.id, version)
        if content is None:
            which = "no state" if version is None else f"no version {version} of its state"
            raise NotFoundError(
                "state_not_found",
                f"{workspace.name} has {which}",
                hint=f"kled state versions {workspace.name}",
            )
        await self._record(caller, Action.STATE_PULL, workspace, f"version {number}")
        return content

    async def push(self, caller: Caller, ref: WorkspaceRef, content: bytes) -> int:
        """Make `content` the newest version, which is returned.

        Raises InputError("state_invalid"), ConflictError("state_lineage", "state_serial",
        "build_active"), StateLockedError, ForbiddenError.
        """
        workspace = await self._workspaces.resolve(caller, ref, Action.STATE_PUSH)
        now = self._clock()

        # In the worker thread: a state may have 64 MiB. The workspace's row is held.
        def append(connection: Any) -> tuple[int, int]:
            new = check_state(content)
            version = next_state_version(connection, workspace.id)
            self._check_idle(connection, workspace)
            self._check_follows(connection, workspace, new)
            self._sealed.append(
                connection,
                workspace.id,
                version,
                content,
                build_id="",
                now=now,
                pushed_by=caller.user_id,
            )
            return version, new["serial"]

        grant, role = grant_of(caller), caller.role
        version, serial = await self._store.write(as_caller, grant, role, append)
        detail = f"version {version}, serial {serial}"
        await self._record(caller, Action.STATE_PUSH, workspace, detail)
        return version

    def _check_idle(self, connection: Any, workspace: Workspace) -> None:
        for build in latest_builds(connection, [workspace.id]):
            if build.status not in ENDED:
                raise build_active(workspace)
        if (holder := state_lock(connection, workspace.id)) is not None:
            raise StateLockedError(holder)

    def _check_follows(self, connection: Any, workspace: Workspace, new: Mapping[str, Any]) -> None:
        _, content = self._sealed.newest(connection, workspace.id)
        if content is None:
            return
        kept = json.loads(content)
        if kept.get("lineage") != new["lineage"]:
            raise ConflictError(
                "state_lineage",
                f"the state is of another lineage than that of {workspace.name}",
                hint=f"begin with what kled state pull {workspace.name} gives",
            )
        if not is_successor(kept, new):
            raise ConflictError(
                "state_serial",
                f"the state has serial {new['serial']}, that of {workspace.name} has "
                f"{kept.get('serial')} already",
                hint="pull it again, and count its serial up by one",
            )

    async def _record(
        self, caller: Caller, action: Action, workspace: Workspace, detail: str
    ) -> None:
        target = ActionTarget(kind="workspace", name=workspace.id, owner_id=workspace.owner_id)
        await self._audit.record(caller, action, target, detail=detail)
