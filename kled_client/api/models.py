"""The API's answers (docs/protocol.md, API), as TypedDicts because they are JSON objects."""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict


class User(TypedDict):
    """A person or a program with a role."""

    id: str
    name: str
    email: str | None
    role: str
    suspended: bool
    created_at: str
    last_seen_at: str | None
    password_set_at: str | None
    password_set_by: str | None
    code_used_at: str | None
    max_workspaces: int | None
    max_waiting_builds: int | None


class Login(TypedDict):
    """What `auth/login` and `auth/exchange` give."""

    token: str
    token_id: str
    expires_at: str | None
    user: User


class AuditEntry(TypedDict):
    """A row of the audit log: who asked for what, and the answer."""

    id: str
    at: str
    user_name: str | None
    action: str
    resource: str
    allowed: bool
    detail: str


class Connection(TypedDict):
    """A stream to a workspace, open where `closed_at` is null."""

    id: str
    workspace_id: str
    workspace: str | None
    owner: str | None
    user_name: str | None
    kind: str
    client_address: str
    opened_at: str
    closed_at: str | None
    bytes_to_agent: int
    bytes_to_client: int
    reason: str | None


class Token(TypedDict):
    """An API token; its secret is only in the answer that made it."""

    id: str
    name: str
    scopes: list[str]
    created_at: str
    expires_at: str | None
    last_used_at: str | None
    revoked_at: str | None


class Variable(TypedDict):
    """A variable that a template declares; `type` is source text, `default` null where none."""

    name: str
    type: str
    default: str | None
    description: str
    sensitive: bool
    required: bool
    is_fixed: NotRequired[bool]


class RegisteredKey(TypedDict, total=False):
    """A registered public key; `unanswered` only in the answer to a change."""

    id: str
    name: str
    public_key: str
    fingerprint: str
    workspace: str | None
    created_at: str
    expires_at: str
    last_used_at: str | None
    unanswered: list[str] | None


class ParameterRules(TypedDict):
    """What a parameter's value has to be."""

    min: float | None
    max: float | None
    monotonic: str | None
    regex: str | None
    error: str | None


class ParameterChoice(TypedDict):
    """One of the values that a parameter may have."""

    name: str
    value: str
    description: str
    icon: str


class AskedParameter(TypedDict):
    """A parameter with the value that it has with some answers, and what is wrong with it."""

    name: str
    display_name: str
    description: str
    type: str
    form_type: str
    default: str | None
    mutable: bool
    ephemeral: bool
    options: list[ParameterChoice]
    validation: ParameterRules | None
    value: str
    error: str | None


class ParameterForm(TypedDict):
    """The parameters there are with some answers; None: variables need a value first."""

    parameters: list[AskedParameter] | None
    presets: list[dict[str, Any]]


class Version(TypedDict, total=False):
    """One immutable version of a template; `changes` and `warnings` where it was just pushed."""

    id: str
    template: str
    number: int
    name: str | None
    message: str | None
    variables: list[Variable]
    parameters: list[AskedParameter] | None
    presets: list[dict[str, Any]]
    created_at: str
    created_by: str
    archived_at: str | None
    readme: str
    changes: list[dict[str, str]] | None
    warnings: list[str]


class Template(TypedDict, total=False):
    """A template; `versions` only where one template was asked for."""

    id: str
    name: str
    display_name: str
    description: str
    icon: str
    active_version: Any
    check_deadline_s: int | None
    build_quiet_s: int | None
    stop_after_s: int | None
    usable_by: str
    created_at: str
    updated_at: str
    versions: list[Version]


class Build(TypedDict):
    """One run of Terraform for a workspace."""

    id: str
    workspace_id: str
    number: int
    transition: str
    status: str
    # Older coordinators say neither.
    version: NotRequired[int]
    restarts: NotRequired[bool]
    error: str | None
    queue: dict[str, Any] | None
    queued_at: str
    started_at: str | None
    finished_at: str | None
    created_by: str


class PlannedAttribute(TypedDict):
    """An attribute that changes; `hidden` says why its values are None."""

    name: str
    before: Any
    after: Any
    hidden: str | None
    unknown: bool
    replaces: bool


class PlannedChange(TypedDict):
    """What happens to a resource: create, update, delete, replace or forget."""

    address: str
    action: str
    attributes: list[PlannedAttribute]


class RenamedWorkspace(TypedDict):
    """A workspace's new name, and what its next build changes because of it."""

    id: str
    name: str
    changes: list[PlannedChange]


class StateVersion(TypedDict):
    """A version of a workspace's state, without its content."""

    version: int
    created_at: str
    build: int | None
    created_by: str | None
    is_pushed: bool
    size_bytes: int | None


class BuildStep(TypedDict):
    """A step of a build, in seconds since it was queued; `duration_s` None while it goes on."""

    kind: str
    name: str
    action: str
    started_s: float
    duration_s: float | None
    failed: bool


class Agent(TypedDict):
    """A workspace's agent as the coordinator last saw it. `rtt_ms` is milliseconds."""

    id: str
    name: str
    status: str
    version: str | None
    hostname: str | None
    os: str | None
    arch: str | None
    address: str | None
    rtt_ms: float | None
    last_seen_at: str | None
    # Older coordinators say nothing of scripts.
    state: NotRequired[str]
    advice: NotRequired[str]
    waits_for: NotRequired[list[str]]
    scripts: NotRequired[list[dict[str, Any]] | None]
    apps: NotRequired[list[dict[str, Any]] | None]
    metadata: NotRequired[list[dict[str, Any]] | None]


class NoteItem(TypedDict):
    """One thing that a note says."""

    key: str
    value: str | None
    sensitive: bool


class Note(TypedDict):
    """What the template notes on the resource at `address`."""

    address: str
    type: str
    icon: str
    hide: bool
    daily_cost: float
    items: list[NoteItem]


class Workspace(TypedDict):
    """A workspace with its latest build and its agent."""

    id: str
    name: str
    owner: str
    template: str
    template_version: Any
    status: str
    agent: Agent | None
    agents: list[Agent]
    latest_build: Build | None
    parameters: dict[str, str | None]
    outputs: dict[str, dict[str, Any]]
    created_at: str
    updated_at: str
    last_used_at: str | None
    template_version_name: NotRequired[str | None]
    sandbox: NotRequired[str | None]
    resources: NotRequired[list[dict[str, str]]]  # added by `kled show`
    notes: NotRequired[list[Note] | None]
    daily_cost: NotRequired[float | None]


class PingResult(TypedDict):
    """The coordinator's measurement of its connection to the agent, in milliseconds."""

    coordinator_agent_ms: float
    agent_version: str | None
    agent_address: str | None
