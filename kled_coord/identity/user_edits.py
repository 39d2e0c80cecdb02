"""The checks of a change of a user, and its consequences. No I/O.

Called inside the transaction, with the rows as they are there (store/user_changes.py).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from kled_coord.policy.actions import Action, ActionTarget
from kled_coord.policy.decide import Caller, require
from kled_coord.policy.roles import ROLES, Role
from kled_coord.store.records import User
from kled_coord.store.user_changes import HeldUsers, UserEdit
from kled_wire.errors import ConflictError, NotFoundError


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPassword:
    """A password's hash, and that of the one before, which was proven where `proven`."""

    hash: str
    before: str | None
    proven: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """A change of the user of some name that somebody asks for; None leaves a field as it is.

    A limit is 0 for none, "default" for that of the settings.
    """

    caller: Caller
    name: str
    now: datetime
    role: Role | None = None
    email: str | None = None
    suspended: bool | None = None
    password: NewPassword | None = None
    max_workspaces: int | Literal["default"] | None = None
    max_waiting_builds: int | Literal["default"] | None = None

    @property
    def action(self) -> Action:
        """Everybody may change their own password and address."""
        others = (self.role, self.suspended, self.max_workspaces, self.max_waiting_builds)
        own = self.name == self.caller.user_name and all(value is None for value in others)
        return Action.USER_UPDATE_OWN if own else Action.USER_UPDATE


def decide_change(edit: Edit, held: HeldUsers) -> UserEdit:
    """A changed user. Suspended, or without the right to enter workspaces, nothing stays open.

    Raises NotFoundError, ForbiddenError, ConflictError ("last_owner", "user_changed").
    """
    user = _found(held, edit.name)
    require(edit.caller, edit.action, _resource(user))
    if edit.action is Action.USER_UPDATE and Role.OWNER in {user.role, edit.role}:
        require(edit.caller, Action.USER_MANAGE_OWNER, _resource(user))
    changed = replace(
        user,
        role=user.role if edit.role is None else edit.role.value,
        email=user.email if edit.email is None else edit.email,
        suspended=user.suspended if edit.suspended is None else edit.suspended,
        max_workspaces=_limit(user.max_workspaces, edit.max_workspaces),
        max_waiting_builds=_limit(user.max_waiting_builds, edit.max_waiting_builds),
    )
    if changed.role != Role.OWNER or changed.suspended:
        _keep_an_owner(held, user)
    if edit.password is not None:
        changed = _with_password(changed, edit.password, edit)
    return UserEdit(
        user=changed,
        revoke_tokens=edit.password is not None,
        keep_token=edit.caller.token_id,
        ended=_may_enter(user) and not _may_enter(changed),
    )


def decide_deletion(caller: Caller, name: str, held: HeldUsers) -> UserEdit:
    """A user who is gone. Raises NotFoundError, ForbiddenError, ConflictError."""
    user = _found(held, name)
    require(caller, Action.USER_DELETE, _resource(user))
    if user.role == Role.OWNER:
        require(caller, Action.USER_MANAGE_OWNER, _resource(user))
        _keep_an_owner(held, user)
    if held.workspaces:
        raise ConflictError(
            "user_has_workspaces",
            f"{name} still has {held.workspaces} workspace{'s' if held.workspaces > 1 else ''}",
            hint="delete them first",
        )
    return UserEdit(user=user, revoke_tokens=True, ended=True, deleted=True)


def decide_ending(caller: Caller, name: str, held: HeldUsers) -> UserEdit:
    """A user for whom nothing stays open. Raises NotFoundError, ForbiddenError."""
    user = _found(held, name)
    require(caller, Action.USER_END_STREAMS, _resource(user))
    return UserEdit(user=user, ended=True)


def user_not_found(name: str) -> NotFoundError:
    """What is said of a user who is not there."""
    return NotFoundError("user_not_found", f"there is no user {name[:64]}", hint="kled user list")


def _found(held: HeldUsers, name: str) -> User:
    if held.user is None:
        raise user_not_found(name)
    return held.user


def _resource(user: User) -> ActionTarget:
    return ActionTarget(kind="user", name=user.name, owner_id=user.id)


def _keep_an_owner(held: HeldUsers, user: User) -> None:
    if user.role == Role.OWNER and not user.suspended and held.owners <= 1:
        raise ConflictError("last_owner", f"{user.name} is the only owner")


def _limit(now: int | None, wanted: int | Literal["default"] | None) -> int | None:
    """A user's own limit after a change; None: that of the settings."""
    if wanted is None:
        return now
    return None if wanted == "default" else wanted


def _may_enter(user: User) -> bool:
    return not user.suspended and Action.WORKSPACE_SSH in ROLES[Role(user.role)].own


def _with_password(user: User, password: NewPassword, edit: Edit) -> User:
    if password.proven and user.password_hash != password.before:
        raise ConflictError("user_changed", "the password has just been changed", hint="try again")
    return replace(
        user,
        password_hash=password.hash,
        password_set_at=edit.now,
        password_set_by=edit.caller.user_name,
    )
