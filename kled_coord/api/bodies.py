"""What requests carry. Unknown fields are refused, so that a typing error does not pass."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from kled_coord.policy.roles import Role
from kled_coord.workspaces.lifecycle import Transition

Name = Annotated[str, Field(max_length=64)]
Secret = Annotated[str, Field(max_length=1024)]
Text = Annotated[str, Field(max_length=255)]
# 0: none; "default": that of the settings.
Limit = Annotated[int, Field(ge=0, le=2**31 - 1)] | Literal["default"]
Key = Annotated[str, Field(max_length=16 * 1024)]


class Body(BaseModel):
    """The base of all bodies."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class LoginBody(Body):
    """Log in by password."""

    username: Name
    password: Secret
    token_name: Text = "login"  # noqa: S105


class ExchangeBody(Body):
    """Log in by one-time code; `password` sets the user's."""

    code: Secret
    password: Secret | None = None
    token_name: Text = "login"  # noqa: S105


class NewUserBody(Body):
    """Add a user."""

    name: Name
    role: Role = Role.MEMBER
    password: Secret | None = None
    email: Text | None = None


class ChangeUserBody(Body):
    """Change a user; what is absent stays. `old_password` goes with one's own new password."""

    role: Role | None = None
    password: Secret | None = None
    old_password: Secret | None = None
    email: Text | None = None
    suspended: bool | None = None
    max_workspaces: Limit | None = None
    max_waiting_builds: Limit | None = None


class NewTokenBody(Body):
    """Make a token; `lifetime_s` 0 never expires, absent is the default."""

    name: Text
    scopes: list[str] = Field(default=["all"], max_length=10)
    lifetime_s: float | None = None


class NewWorkspaceBody(Body):
    """Create a workspace; `version` absent is the template's active one."""

    name: Name
    template: Name
    version: int | None = Field(None, ge=1, le=2**31 - 1)
    parameters: dict[str, str] = {}


class NewBuildBody(Body):
    """Queue a build; a version and parameters that are absent are those applied last."""

    transition: Transition
    version: int | None = Field(None, ge=1, le=2**31 - 1)
    orphan: bool = False
    parameters: dict[str, str] = {}


class CertificateBody(Body):
    """Ask for an SSH user certificate."""

    public_key: Key


class NewKeyBody(Body):
    """Register a public key; `workspace` absent: for all of the caller's."""

    public_key: Key
    name: Text | None = None
    workspace: Text | None = None
    lifetime_s: float | None = None


class EnrollBody(BaseModel):
    """An agent says who it is. Unknown fields are ignored: agents may be newer."""

    model_config = ConfigDict(frozen=True)

    host_public_key: Key
    version: Text
    hostname: Text
    os: Text
    arch: Text
