"""The policy function, which alone decides for every route and every stream."""

from __future__ import annotations

from dataclasses import dataclass

from kled_coord.policy.actions import Action, ActionTarget
from kled_coord.policy.roles import ROLES, SCOPES, Role
from kled_wire.errors import ForbiddenError, NotFoundError
from kled_wire.names import UserId


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """A user who calls with one of their tokens; `endings` is that of store/records.py's User."""

    user_id: UserId
    user_name: str
    role: Role
    scopes: tuple[str, ...]
    token_id: str
    endings: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The answer. `hidden`: the caller may not even know that the resource exists."""

    allowed: bool
    reason: str = ""
    hint: str | None = None
    hidden: bool = False


def decide(caller: Caller, action: Action, resource: ActionTarget) -> Decision:
    """Whether `caller` may do `action` to `resource`, and why not."""
    grants = ROLES[caller.role]
    own = resource.owner_id == caller.user_id
    if not (action in grants.anywhere or (own and action in grants.own)):
        reason = f"the role {caller.role} does not allow {action} on {resource}"
        seen = own or Action.WORKSPACE_READ in grants.anywhere
        return Decision(
            allowed=False,
            reason=reason,
            hint="kled whoami shows your role; an admin can change it",
            hidden=resource.kind == "workspace" and not seen,
        )
    if not any(action in SCOPES.get(scope, frozenset()) for scope in caller.scopes):
        reason = f"the scope of this token ({', '.join(caller.scopes)}) does not allow {action}"
        return Decision(
            allowed=False, reason=reason, hint="kled token create makes one of another scope"
        )
    return Decision(allowed=True)


def require(caller: Caller, action: Action, resource: ActionTarget) -> None:
    """Raise ForbiddenError, or NotFoundError for a foreign workspace, unless allowed."""
    decision = decide(caller, action, resource)
    if decision.hidden:
        raise workspace_not_found(resource.name)
    if not decision.allowed:
        raise ForbiddenError("forbidden", decision.reason, hint=decision.hint)


def workspace_not_found(name: str) -> NotFoundError:
    """What a caller is told of a workspace that is not there, or not theirs to know of."""
    return NotFoundError(
        "workspace_not_found", f"there is no workspace {name}", hint="kled list shows yours"
    )
