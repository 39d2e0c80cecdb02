"""Every action of the policy, and the kind of object it acts on."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Action(StrEnum):
    """An action that a caller wants. The audit log keeps the values: never rename one."""

    WORKSPACE_READ = "workspace.read"
    WORKSPACE_CREATE = "workspace.create"
    WORKSPACE_START = "workspace.start"
    WORKSPACE_STOP = "workspace.stop"
    WORKSPACE_DELETE = "workspace.delete"
    WORKSPACE_RENAME = "workspace.rename"
    # A state has every secret of its workspace, and a pushed one decides what a delete destroys.
    STATE_PULL = "state.pull"
    STATE_PUSH = "state.push"
    WORKSPACE_SSH = "workspace.ssh"
    WORKSPACE_TCP = "workspace.tcp"
    WORKSPACE_OUTPUT = "workspace.output"
    BUILD_CANCEL = "build.cancel"
    TEMPLATE_READ = "template.read"
    TEMPLATE_WRITE = "template.write"
    TEMPLATE_DELETE = "template.delete"
    USER_READ = "user.read"
    USER_CREATE = "user.create"
    USER_UPDATE = "user.update"
    USER_UPDATE_OWN = "user.update_own"
    USER_DELETE = "user.delete"
    USER_END_STREAMS = "user.end_streams"
    USER_MANAGE_OWNER = "user.manage_owner"
    TOKEN_READ = "token.read"  # noqa: S105
    TOKEN_CREATE = "token.create"  # noqa: S105
    TOKEN_REVOKE = "token.revoke"  # noqa: S105
    SSH_CERTIFICATE = "ssh.certificate"
    KEY_READ = "key.read"
    KEY_ADD = "key.add"
    KEY_REMOVE = "key.remove"
    AGENT_TOKEN = "agent.token"  # noqa: S105
    AUDIT_READ = "audit.read"
    CONNECTION_READ = "connection.read"
    METRICS_READ = "metrics.read"
    # Recorded, never asked: logging in is decided by secrets, not by a role.
    LOGIN = "auth.login"
    LOGOUT = "auth.logout"
    AUTHENTICATE = "auth.authenticate"
    AGENT_ENROLL = "agent.enroll"
    LOGIN_CODE = "auth.login_code"
    KEY_USE = "key.use"


READING: Final = frozenset(action for action in Action if action.value.endswith(".read"))


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionTarget:
    """The resource that an action concerns. `owner_id` is the user it belongs to, if any."""

    kind: str
    name: str = ""
    owner_id: str | None = None

    def __str__(self) -> str:
        """As the audit log shows it."""
        return f"{self.kind} {self.name}" if self.name else self.kind
