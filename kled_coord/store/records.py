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
class Template:
    """A template; `active_version` is a version's number, 0 before the first.

    Its deadlines are seconds, None where the settings' count. Workspaces that nobody has used for
    `stop_after_s` are stopped, with None never. `usable_by` is "everybody", or "template-admins".
    """

    id: str
    name: str
    display_name: str
    description: str
    icon: str
    active_version_id: str | None
    active_version: int
    check_deadline_s: int | None
    build_quiet_s: int | None
    stop_after_s: int | None
    usable_by: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """A variable that a template declares. `type` is source text, "" where it says none.

    `default` is a string's value, else source text; None where there is none, and for a sensitive
    one. `required`: nothing in the template gives it a value, not even null.
    """

    name: str
    type: str
    default: str | None
    description: str
    sensitive: bool
    required: bool
    ephemeral: bool

    @property
    def secret(self) -> bool:
        """Whether its value is kept sealed; Terraform itself keeps an ephemeral one nowhere."""
        return self.sensitive or self.ephemeral


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterOption:
    """One of the values that a parameter may have."""

    name: str
    value: str
    description: str = ""
    icon: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterValidation:
    """What a parameter's value has to be; `error` is the author's word for what is not."""

    min: float | None = None
    max: float | None = None
    monotonic: str | None = None
    regex: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateParameter:
    """A parameter as Terraform has evaluated it, in the order in which people are asked.

    `default` None: it needs a value. `value` is what it has with the answers that were given, and
    `error` what is wrong with that.
    """

    name: str
    display_name: str
    description: str
    type: str
    form_type: str
    default: str | None
    mutable: bool
    ephemeral: bool
    icon: str
    options: tuple[ParameterOption, ...]
    validation: ParameterValidation | None
    value: str
    error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplatePreset:
    """Values for some parameters under one name, of which one may be the `default`."""

    name: str
    description: str
    icon: str
    default: bool
    parameters: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateVersion:
    """An immutable version, without its archive. `created_by` is a user's name.

    `fixed` are values that its author has given to variables, as Terraform's source text by name;
    None: sealed. `parameters` and `presets` are those of a start with the defaults; None: nobody
    has looked. `archived_at`: nothing new is made of it. `name` is its author's, if it has one.
    """

    id: str
    template_id: str
    template: str
    number: int
    name: str | None
    message: str
    variables: tuple[Variable, ...]
    fixed: Mapping[str, str | None]
    parameters: tuple[TemplateParameter, ...] | None
    presets: tuple[TemplatePreset, ...]
    created_at: datetime
    created_by: str
    archived_at: datetime | None

    @property
    def open_variables(self) -> tuple[Variable, ...]:
        """The variables that are the workspace's owner's to give."""
        return tuple(each for each in self.variables if each.name not in self.fixed)


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
