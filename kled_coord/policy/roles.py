"""The actions that each role grants, on any object and on the caller's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from kled_coord.policy.actions import READING, Action


class Role(StrEnum):
    """A user's role. All but the auditor, who only reads, may have workspaces of their own."""

    OWNER = "owner"
    ADMIN = "admin"
    TEMPLATE_ADMIN = "template-admin"
    MEMBER = "member"
    AUDITOR = "auditor"


@dataclass(frozen=True, slots=True, kw_only=True)
class RolePermissions:
    """Actions allowed on anything, and actions allowed on what the caller owns."""

    anywhere: frozenset[Action]
    own: frozenset[Action]


# Entering a workspace is its owner's alone: an admin may stop or delete one, never look inside.
_OWN: Final = frozenset(
    {
        Action.WORKSPACE_READ,
        Action.WORKSPACE_CREATE,
        Action.WORKSPACE_START,
        Action.WORKSPACE_STOP,
        Action.WORKSPACE_DELETE,
        Action.WORKSPACE_RENAME,
        Action.WORKSPACE_SSH,
        Action.WORKSPACE_TCP,
        # The output of scripts is something that only a person inside the workspace sees.
        Action.WORKSPACE_OUTPUT,
        # A person who has this token can act as the agent, which amounts to entering the workspace:
        # for the owner alone.
        Action.AGENT_TOKEN,
        Action.BUILD_CANCEL,
        Action.USER_READ,
        Action.CONNECTION_READ,
        Action.USER_UPDATE_OWN,
        Action.USER_END_STREAMS,
        Action.TOKEN_READ,
        Action.TOKEN_CREATE,
        Action.TOKEN_REVOKE,
        Action.SSH_CERTIFICATE,
        Action.KEY_READ,
        Action.KEY_ADD,
        Action.KEY_REMOVE,
    }
)
_OWN_AS_AUDITOR: Final = frozenset(
    {
        Action.USER_READ,
        Action.CONNECTION_READ,
        Action.USER_UPDATE_OWN,
        Action.TOKEN_READ,
        Action.TOKEN_CREATE,
        Action.TOKEN_REVOKE,
        Action.KEY_READ,
        Action.KEY_REMOVE,
    }
)
_EVERYBODY: Final = frozenset({Action.TEMPLATE_READ})
_TEMPLATES: Final = _EVERYBODY | {Action.TEMPLATE_WRITE, Action.TEMPLATE_DELETE}
_ADMIN: Final = (
    _TEMPLATES
    | READING
    | {
        Action.WORKSPACE_START,
        Action.WORKSPACE_STOP,
        Action.WORKSPACE_DELETE,
        Action.WORKSPACE_RENAME,
        Action.STATE_PULL,
        Action.STATE_PUSH,
        Action.BUILD_CANCEL,
        Action.USER_CREATE,
        Action.USER_UPDATE,
        Action.USER_DELETE,
        Action.USER_END_STREAMS,
        Action.TOKEN_REVOKE,
        Action.KEY_REMOVE,
    }
)

ROLES: Final[Mapping[Role, RolePermissions]] = {
    Role.OWNER: RolePermissions(anywhere=_ADMIN | {Action.USER_MANAGE_OWNER}, own=_OWN),
    Role.ADMIN: RolePermissions(anywhere=_ADMIN, own=_OWN),
    Role.TEMPLATE_ADMIN: RolePermissions(anywhere=_TEMPLATES, own=_OWN),
    Role.MEMBER: RolePermissions(anywhere=_EVERYBODY, own=_OWN),
    Role.AUDITOR: RolePermissions(anywhere=READING, own=_OWN_AS_AUDITOR),
}

ALL_SCOPE: Final = "all"
# The actions that a token of each scope allows at most.
SCOPES: Final[Mapping[str, frozenset[Action]]] = {
    ALL_SCOPE: frozenset(Action),
    "read": READING | {Action.WORKSPACE_OUTPUT},
    "ssh": frozenset(
        {
            Action.WORKSPACE_READ,
            Action.WORKSPACE_SSH,
            Action.WORKSPACE_TCP,
            Action.WORKSPACE_OUTPUT,
            Action.SSH_CERTIFICATE,
            Action.USER_READ,
        }
    ),
}
