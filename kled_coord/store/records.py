"""The results of queries: rows as frozen values, with fields named as the columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kled_wire.names import AgentId, BuildId, UserId, WorkspaceId


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Somebody who may log in. `password_hash` is argon2's own format.

    `endings` counts how often all that was opened for them has been ended. `password_set_by` is
    the name of who set the password; `code_used_at` is when a one-time code was used last. Limits
    are 0 for none, and None where the settings' count.
    """

    id: UserId
    name: str
    email: str | None
    role: str
    password_hash: str | None
    suspended: bool
    endings: int
    created_at: datetime
    last_seen_at: datetime | None
    password_set_at: datetime | None
    password_set_by: str | None
    code_used_at: datetime | None = None
    max_workspaces: int | None = None
    max_waiting_builds: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """How many workspaces a user owns, and how many builds of theirs wait."""

    user: User
    workspaces: int
    waiting_builds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What something was opened with: a token, and its user's `endings` as they were then."""

    user_id: str
    token_id: str
    endings: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """An API token, without its secret. `expires_at` None: never."""

    id: str
    user_id: UserId
    name: str
    scopes: tuple[str, ...]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredKey:
    """A public key of a user. `workspace`, `workspace_id` None: for all of their workspaces.

    `public_key` is type and base64 as in authorized_keys(5), `fingerprint` is ssh-keygen's SHA256.
    """

    id: str
    user_id: UserId
    workspace_id: WorkspaceId | None
    workspace: str | None
    name: str
    public_key: str
    fingerprint: str
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """A workspace; `status` is one of docs/protocol.md's.

    Version and parameters are those applied last. A parameter that is None is sensitive: sealed.
    `outputs` are those of the last build that succeeded: each has `value` and `sensitive`.
    """

    id: WorkspaceId
    name: str
    owner_id: UserId
    owner_name: str
    template_id: str
    template: str
    version_id: str
    template_version: int
    status: str
    parameters: Mapping[str, str | None]
    created_at: datetime
    updated_at: datetime
    last_used_at: datetime | None
    outputs: Mapping[str, Any] | None = None
    template_version_name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """One build of a workspace. `queue_position` counts from 1, while it waits.

    `created_by` is a user's name; parameters are as a workspace's, and those that `ephemeral` names
    are for this build alone. `then_start` is what a restart's stop is followed by.
    """

    id: BuildId
    workspace_id: WorkspaceId
    number: int
    transition: str
    status: str
    version_id: str
    version: int
    parameters: Mapping[str, str | None]
    ephemeral: Sequence[str] | None
    orphan: bool
    then_start: Mapping[str, Any] | None
    forced: bool
    error: str | None
    progress_done: int
    progress_total: int
    progress_message: str
    created_by: str
    worker: str | None
    lease: int
    queued_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    queue_position: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """One line of a build's log; `seq` counts from 1."""

    seq: int
    at: datetime
    level: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentRecord:
    """An agent of a workspace, as last heard of; whether it is connected, the registry knows.

    `environment` and `directory` are for its sessions; None: nothing was said. `position` is the
    template's order, by which several are sorted.
    """

    id: AgentId
    workspace_id: WorkspaceId
    name: str
    host_public_key: str | None
    version: str | None
    hostname: str | None
    os: str | None
    arch: str | None
    address: str | None
    created_at: datetime
    last_seen_at: datetime | None
    revoked_at: datetime | None
    environment: Mapping[str, str] | None
    directory: str | None
    position: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentArrival:
    """When an agent, by its name, first connected after a build had begun."""

    name: str
    connected_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRow:
    """Who asked for what, and the answer."""

    id: str
    at: datetime
    user_id: str | None
    user_name: str | None
    token_id: str | None
    action: str
    resource: str
    allowed: bool
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRow:
    """A stream that was opened to a workspace, with the names of both now; None: never known."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class StateLock:
    """Terraform's lock on a workspace's state; `info` is Terraform's own JSON."""

    workspace_id: WorkspaceId
    lock_id: str
    info: str
    build_id: BuildId
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StateRecord:
    """A version of a workspace's state, without its content.

    `build` is the number of the build that wrote it, `created_by` the user who queued that, or
    pushed the state. `size_bytes` is None where Terraform had deleted the state.
    """

    version: int
    created_at: datetime
    build: int | None
    created_by: str | None
    is_pushed: bool
    size_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptRun:
    """A run of a script of an agent's, as it told of it last (kled_wire/control/messages.py).

    `run` is the agent's name for it. `exit_code` None: it has none. `name` and `blocks_login` are
    the template's, `position` where the template has the script.
    """

    agent_id: AgentId
    run: str
    build_id: BuildId
    script: str
    name: str
    stage: str
    state: str
    exit_code: int | None
    note: str
    blocks_login: bool
    position: int
    started_at: datetime | None
    duration_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptPiece:
    """What is kept of the `size` bytes that a run has printed from byte `start` on."""

    start: int
    size: int
    data: bytes
