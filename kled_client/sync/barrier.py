"""The barrier: what was saved before is on the other side before a command runs, and back after."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kled_client.sync.sessions import SessionStore
from kled_sync.files.root import sync_home
from kled_wire.counting import counted
from kled_wire.errors import ConflictError, KledError, NotFoundError
from kled_wire.names import WorkspaceRef


def syncs_of(env: Mapping[str, str], workspace: WorkspaceRef) -> list[str]:
    """The names of those with `workspace`. Blocks. Raises NotFoundError("sync_none_there")."""
    store = SessionStore(sync_home(env))
    found = [
        name
        for name in store.names()
        if any(is_same(place.workspace, workspace) for place in store.load(name).places())
    ]
    if not found:
        raise NotFoundError(
            "sync_none_there",
            f"no folder is kept the same with {workspace}",
            hint=f"kled sync start . {workspace}:PATH",
        )
    return found


def is_same(one: WorkspaceRef | None, other: WorkspaceRef) -> bool:
    """Whether two ways to name a workspace mean the same; one without an owner means one's own."""
    if one is None or one.id != other.id or one.name != other.name:
        return False
    return one.owner is None or other.owner is None or one.owner == other.owner


def incomplete(name: str, status: dict[str, Any]) -> KledError | None:
    """What the two sides of a sync differ in after a flush that ended with `status`."""
    hint = f"kled sync status {name}"
    if lacking := status.get("lacking_total"):
        words = f"{counted(lacking, 'path')} of {name} could not be copied"
        return KledError("sync_incomplete", words, hint=hint)
    if conflicts := status.get("conflicts_total"):
        words = f"{name} has {counted(conflicts, 'conflict')}; the rest is the same"
        return ConflictError("sync_conflicts", words, hint=hint)
    return None
