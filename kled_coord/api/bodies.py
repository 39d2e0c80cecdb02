"""The JSON bodies of requests, and their longer queries.

An unknown field is refused, so that a typing error is reported.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, Base64Bytes, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

from kled_coord.policy.roles import Role
from kled_coord.workspaces.lifecycle import Transition
from kled_wire.errors import InputError
from kled_wire.names import VERSION_MAX, VERSION_NAME_MAX, check_version_name


def _check_printable(value: str) -> str:
    """What acts on a reader's terminal is in no name, and PostgreSQL keeps no NUL."""
    if not value.isprintable():
        raise PydanticCustomError("not_printable", "Characters that cannot be printed")
    return value


def _check_version(value: str) -> str:
    try:
        return check_version_name(value)
    except InputError as error:
        raise PydanticCustomError(error.code, "{why}", {"why": error.message}) from error


def _in_utc(value: datetime) -> datetime:
    return value if value.tzinfo else value.replace(tzinfo=UTC)


Printable = AfterValidator(_check_printable)
Name = Annotated[str, Field(max_length=64), Printable]
Secret = Annotated[str, Field(max_length=1024)]
# A text that its author chose.
Label = Annotated[str, Field(max_length=255)]
Text = Annotated[str, Field(max_length=255), Printable]
# A text that a machine reports; what cannot be printed is replaced.
Said = Annotated[str, Field(max_length=255)]
# 0: none; "default": that of the settings.
Limit = Annotated[int, Field(ge=0, le=2**31 - 1, strict=True)] | Literal["default"]
# A version of a template: a number, or a name that is not a number.
Version = (
    Annotated[int, Field(ge=1, le=VERSION_MAX, strict=True)]
    | Annotated[str, Field(max_length=VERSION_NAME_MAX), AfterValidator(_check_version)]
)
StopAfter = Annotated[int, Field(ge=60, le=2**31 - 1, strict=True)] | Literal["never"]
UsableBy = Literal["everybody", "template-admins"]
Seconds = Annotated[float, Field(strict=True)]
CheckDeadline = Annotated[int, Field(ge=1, le=3600, strict=True)] | Literal["default"]
# Without a zone it is UTC.
Moment = Annotated[datetime, AfterValidator(_in_utc)]
Key = Annotated[str, Field(max_length=16 * 1024)]


class RequestBody(BaseModel):
    """The base of all bodies."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class LoginBody(RequestBody):
    """Log in by password."""

    username: Name
    password: Secret
    token_name: Text = "login"  # noqa: S105


class ExchangeBody(RequestBody):
    """Log in by one-time code; `password` sets the user's."""

    code: Secret
    password: Secret | None = None
    token_name: Text = "login"  # noqa: S105


class NewUserBody(RequestBody):
    """Add a user."""

    name: Name
    role: Role = Role.MEMBER
    password: Secret | None = None
    email: Text | None = None


class ChangeUserBody(RequestBody):
    """Change a user; what is absent stays. `old_password` goes with one's own new password."""

    role: Role | None = None
    password: Secret | None = None
    old_password: Secret | None = None
    email: Text | None = None
    suspended: bool | None = None
    max_workspaces: Limit | None = None
    max_waiting_builds: Limit | None = None


class NewTokenBody(RequestBody):
    """Make a token; `lifetime_s` 0 never expires, absent is the default."""

    name: Text
    scopes: list[Name] = Field(default=["all"], max_length=10)
    lifetime_s: Seconds | None = None


class NewWorkspaceBody(RequestBody):
    """Create a workspace; `version` absent is the template's active one.

    `preset` names values of the template's, `copy_from` a workspace whose values are taken; what
    is in `parameters` goes over both.
    """

    name: Name
    template: Name
    version: Version | None = None
    parameters: dict[str, str] = {}
    preset: Label | None = None
    copy_from: Text | None = None


class RenameBody(RequestBody):
    """Change a workspace: its name."""

    name: Name


class NewBuildBody(RequestBody):
    """Queue a build; a version and parameters that are absent are those applied last.

    `restart` is a stop, and once that has succeeded a start.
    """

    transition: Transition | Literal["restart"]
    version: Version | None = None
    orphan: bool = False
    parameters: dict[str, str] = {}
    preset: Label | None = None


class PlanBody(RequestBody):
    """Ask what a build would change; as for a new build."""

    transition: Transition = Transition.START
    version: Version | None = None
    parameters: dict[str, str] = {}
    preset: Label | None = None


class EvaluateTemplateBody(RequestBody):
    """Ask for the parameters of a new workspace, with some answers."""

    version: Version | None = None
    parameters: dict[str, str] = {}
    preset: Label | None = None
    copy_from: Text | None = None


class EvaluateWorkspaceBody(RequestBody):
    """Ask for the parameters of a workspace's next start, with some answers."""

    version: Version | None = None
    parameters: dict[str, str] = {}
    preset: Label | None = None


class ValuesFileBody(RequestBody):
    """A `.tfvars` or `.tfvars.json`."""

    name: Text
    content: Annotated[str, Field(max_length=256 * 1024)]


class CheckTemplateBody(RequestBody):
    """An upload to check: a tar in base64, values to fix, and those that its plan is made with."""

    archive: Base64Bytes
    variables: dict[str, str] = {}
    variable_files: Annotated[list[ValuesFileBody], Field(max_length=20)] = []
    parameters: dict[str, str] = {}


class PushTemplateBody(CheckTemplateBody):
    """An upload to make a version of."""

    name: Annotated[str, AfterValidator(_check_version)] | None = None
    message: Annotated[str, Field(max_length=2000)] = ""
    activate: bool = True
    check_deadline_s: CheckDeadline | None = None
    build_quiet_s: Limit | None = None


class ChangeTemplateBody(RequestBody):
    """Change a template; what is absent stays."""

    display_name: Text | None = None
    description: Annotated[str, Field(max_length=1000), Printable] | None = None
    icon: Text | None = None
    active_version: Version | Literal["previous"] | None = None
    check_deadline_s: CheckDeadline | None = None
    build_quiet_s: Limit | None = None
    stop_after_s: StopAfter | None = None
    usable_by: UsableBy | None = None


class ChangeVersionBody(RequestBody):
    """Archive a version, or bring it back."""

    archived: bool


class CertificateBody(RequestBody):
    """Ask for an SSH user certificate."""

    public_key: Key


class NewKeyBody(RequestBody):
    """Register a public key; `workspace` absent: for all of the caller's."""

    public_key: Key
    name: Text | None = None
    workspace: Text | None = None
    lifetime_s: Seconds | None = None


class EnrollBody(BaseModel):
    """An agent says who it is. Unknown fields are ignored: agents may be newer."""

    model_config = ConfigDict(frozen=True)

    host_public_key: Key
    version: Said
    hostname: Said
    os: Said
    arch: Said


class SpanQuery(RequestBody):
    """What logs are narrowed down by: at most `limit` rows, from `since` on and before `until`."""

    user: Text | None = None
    since: Moment | None = None
    until: Moment | None = None
    limit: int = Field(default=100, ge=1, le=1000)


class AuditQuery(SpanQuery):
    """`action` is how it begins, `resource` a part of it."""

    action: Text | None = None
    resource: Text | None = None
    allowed: bool | None = None


class ConnectionQuery(SpanQuery):
    """`workspace` is an id or a name, with its owner's or without."""

    workspace: Text | None = None
    kind: Text | None = None
    open: bool | None = None
