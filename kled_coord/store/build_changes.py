"""Transactions on builds and their workspaces: all changes of a decision, or none.

What to do is decided by a pure function that the caller passes; it sees the rows as they are in
the transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from kled_coord.store.agents import revoke_agents
from kled_coord.store.builds import (
    NewBuild,
    build_by_id,
    build_by_number,
    build_secrets,
    count_waiting_builds,
    following_start,
    held_build,
    insert_build,
    latest_builds,
    next_pending,
    update_build,
)
from kled_coord.store.records import Build, Usage, Workspace
from kled_coord.store.states import drop_build_lock, lock_workspace
from kled_coord.store.template_records import TemplateVersion
from kled_coord.store.templates import hold_template
from kled_coord.store.users import count_owned_workspaces, user_by_id
from kled_coord.store.versions import version_by_id
from kled_coord.store.workspaces import (
    insert_workspace,
    set_workspace_applied,
    set_workspace_outputs,
    set_workspace_status,
    workspace_by_id,
    workspace_secrets,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildChange:
    """What is to be written: columns of the build, and the workspace's status.

    `run_over`: whatever ran has ended, so the state's lock is dropped. `applied`: the build's
    version and parameters are the workspace's from now on, and so are `outputs`, unless None.
    `goes_on`: what a restart's stop is followed by is queued.
    """

    values: Mapping[str, Any]
    workspace_status: str
    run_over: bool = False
    applied: bool = False
    goes_on: bool = False
    outputs: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """A build after a change, the agents that were revoked with it, and what follows it."""

    build: Build
    revoked_agents: tuple[str, ...] = ()
    queued: Build | None = None


# Sees the build and the one before it.
Decide = Callable[[Build, Build | None], BuildChange]


# Raises where a user who has so much may not have one more.
CheckUsage = Callable[[Usage], None]
# Sees the workspace, its version and its sealed parameters.
DecideNew = Callable[[Workspace, TemplateVersion, bytes | None], NewBuild]
# Sees the workspace and its newest build, whose sensitive values the new one gets.
DecideAgain = Callable[[Workspace, Build], NewBuild]


def create_workspace(
    connection: Connection, workspace: Workspace, build: NewBuild, *checks: CheckUsage
) -> Build:
    """Add a workspace with its first build, whose user is held.

    Raises DuplicateError, NotFoundError when its template was deleted meanwhile, as `checks`.
    """
    _check_usage(connection, build.user_id, checks)
    hold_template(connection, workspace.template_id, workspace.template)
    insert_workspace(connection, workspace, build.secrets_sealed)
    return _queue(connection, build)


def queue_build(
    connection: Connection, workspace_id: str, decide: DecideNew, *checks: CheckUsage
) -> Build:
    """Queue the build that `decide` makes of its workspace, whose user is held.

    Raises DuplicateError, and as `checks`.
    """
    # A build that is running may change the workspace, so nothing is decided before the lock is
    # held.
    lock_workspace(connection, workspace_id)
    workspace = workspace_by_id(connection, workspace_id)
    assert workspace is not None
    version = version_by_id(connection, workspace.version_id)
    secrets = workspace_secrets(connection, workspace_id)
    build = decide(workspace, version, secrets)
    _check_usage(connection, build.user_id, checks)
    return _queue(connection, build)


def queue_again(
    connection: Connection, workspace_id: str, decide: DecideAgain, *checks: CheckUsage
) -> Build:
    """Queue what `decide` makes of the newest build of a workspace that has one.

    The new one has the sensitive values of that build, and what follows it. Raises as queue_build.
    """
    lock_workspace(connection, workspace_id)
    workspace = workspace_by_id(connection, workspace_id)
    assert workspace is not None
    (newest,) = latest_builds(connection, [workspace_id])
    again = decide(workspace, newest)
    _check_usage(connection, again.user_id, checks)
    then = following_start(connection, newest, again.queued_at)
    sealed = build_secrets(connection, newest.id)
    return _queue(connection, replace(again, secrets_sealed=sealed, then=then))


def _check_usage(connection: Connection, user_id: str, checks: Iterable[CheckUsage]) -> None:
    user = user_by_id(connection, user_id)
    assert user is not None
    usage = Usage(
        user=user,
        workspaces=count_owned_workspaces(connection, user_id),
        waiting_builds=count_waiting_builds(connection, user_id),
    )
    for check in checks:
        check(usage)


def _queue(connection: Connection, build: NewBuild) -> Build:
    queued = insert_build(connection, build)
    set_workspace_status(connection, build.workspace_id, "pending", build.queued_at)
    return queued


def claim_build(connection: Connection, decide: Decide, now: datetime) -> Build | None:
    """Take the pending build whose turn it is; no other worker can take it as well."""
    build = next_pending(connection)
    return None if build is None else _apply(connection, build, decide, now).build


def change_build(
    connection: Connection, build_id: str, decide: Decide, now: datetime
) -> Changed | None:
    """Change a build as `decide` says; None when there is no such build."""
    build = build_by_id(connection, build_id)
    if build is None:
        return None
    # Always the workspace before its builds, or two transactions could wait for each other.
    lock_workspace(connection, build.workspace_id)
    held = held_build(connection, build_id)
    return None if held is None else _apply(connection, held, decide, now)


def _apply(connection: Connection, build: Build, decide: Decide, now: datetime) -> Changed:
    before = build_by_number(connection, build.workspace_id, build.number - 1)
    change = decide(build, before)
    if change.applied:
        set_workspace_applied(
            connection,
            build.workspace_id,
            version_id=build.version_id,
            parameters={
                name: value
                for name, value in build.parameters.items()
                if name not in (build.ephemeral or ())
            },
            secrets_sealed=build_secrets(connection, build.id),
        )
    follows = following_start(connection, build, now) if change.goes_on else None
    update_build(connection, build.id, dict(change.values))
    set_workspace_status(connection, build.workspace_id, change.workspace_status, now)
    if change.outputs is not None:
        set_workspace_outputs(connection, build.workspace_id, dict(change.outputs))
    if change.run_over:
        drop_build_lock(connection, build.id)
    revoked: list[str] = []
    if change.workspace_status == "deleted":
        revoked = revoke_agents(connection, build.workspace_id, now)
    changed = held_build(connection, build.id)
    assert changed is not None
    queued = None if follows is None else _queue(connection, follows)
    return Changed(build=changed, revoked_agents=tuple(revoked), queued=queued)
