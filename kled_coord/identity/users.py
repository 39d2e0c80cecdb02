"""Users: their names, their roles, and whether they may log in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, Literal

from kled_coord.identity.audit import Audit
from kled_coord.identity.endings import Endings
from kled_coord.identity.grants import grant_of
from kled_coord.identity.logins import Logins
from kled_coord.identity.passwords import Passwords
from kled_coord.identity.user_edits import (
    Edit,
    NewPassword,
    decide_change,
    decide_deletion,
    decide_ending,
    user_not_found,
)
from kled_coord.policy.actions import Action, ActionTarget
from kled_coord.policy.decide import Caller
from kled_coord.policy.roles import Role
from kled_coord.sources import Clock, Ids
from kled_coord.store.engine import Store
from kled_coord.store.errors import DuplicateError
from kled_coord.store.logins import NewLoginCode, add_first_owner, add_user
from kled_coord.store.records import User
from kled_coord.store.standing import as_caller
from kled_coord.store.user_changes import HeldUsers, UserEdit, edit_user
from kled_coord.store.users import list_users, user_by_name
from kled_wire.errors import ConflictError, ForbiddenError, InputError
from kled_wire.names import UserId, check_name

# `GET /api/v1/users/me` is the caller.
_RESERVED: Final = frozenset({"me"})


@dataclass(frozen=True, slots=True, kw_only=True)
class UserChange:
    """What to change; None leaves a field as it is. One's own password asks for the `old` one."""

    role: Role | None = None
    password: str | None = None
    old_password: str | None = None
    email: str | None = None
    suspended: bool | None = None
    max_workspaces: int | Literal["default"] | None = None
    max_waiting_builds: int | Literal["default"] | None = None


@dataclass(slots=True, kw_only=True)
class Users:
    """Creates, changes and deletes users, as the policy allows.

    What a change may do is decided in the transaction that writes it (identity/user_edits.py).
    """

    store: Store
    clock: Clock
    ids: Ids
    audit: Audit
    logins: Logins
    endings: Endings
    passwords: Passwords

    async def list_all(self, caller: Caller) -> list[User]:
        """All users, by name."""
        await self.audit.require(caller, Action.USER_READ, ActionTarget(kind="user", name="*"))
        return await self.store.read(list_users)

    async def get(self, caller: Caller, name: str) -> User:
        """One user; everybody may look at themselves. Raises NotFoundError."""
        return await self._find(caller, name, Action.USER_READ)

    async def create(
        self, caller: Caller, *, name: str, role: Role, password: str | None, email: str | None
    ) -> tuple[User, str | None]:
        """Add a user; without a password also returns a one-time code. Raises ConflictError."""
        if check_name("user", name) in _RESERVED:
            raise InputError("name_invalid", f"{name!r} cannot be a user's name")
        action = Action.USER_MANAGE_OWNER if role is Role.OWNER else Action.USER_CREATE
        resource = ActionTarget(kind="user", name=name)
        await self.audit.require(caller, action, resource)
        made = await self.add(name=name, role=role, password=password, email=email, by=caller)
        await self.audit.record(caller, action, resource, detail=f"role {role}")
        return made

    async def add(
        self,
        *,
        name: str,
        role: Role,
        password: str | None,
        email: str | None,
        by: Caller | None = None,
    ) -> tuple[User, str | None]:
        """Add a user without asking the policy."""
        user, code, new = await self._make(name, role, password, email, by)
        try:
            if by is None:
                await self.store.write(add_user, user, new)
            else:
                grant = grant_of(by)
                await self.store.write(as_caller, grant, by.role, add_user, user, new)
        except DuplicateError as error:
            raise ConflictError("user_exists", f"there is a user {name} already") from error
        return user, code

    async def add_first_owner(self, name: str) -> tuple[str, str | None]:
        """Add the first owner, with a one-time code; else the name of one who is there, and None.

        Raises InputError, StoreError, ConflictError("user_exists").
        """
        user, code, new = await self._make(name, Role.OWNER, None, None, None)
        assert new is not None
        try:
            there = await self.store.write(add_first_owner, user, new)
        except DuplicateError as error:
            raise ConflictError("user_exists", f"there is a user {name} already") from error
        return (user.name, code) if there is None else (there, None)

    async def _make(
        self, name: str, role: Role, password: str | None, email: str | None, by: Caller | None
    ) -> tuple[User, str | None, NewLoginCode | None]:
        """A user and, without a password, a one-time code and what is stored of it."""
        now = self.clock()
        user = User(
            id=UserId(self.ids.new("usr")),
            name=check_name("user", name),
            email=email,
            role=role.value,
            password_hash=None if password is None else await self.passwords.hash(password),
            suspended=False,
            endings=0,
            created_at=now,
            last_seen_at=None,
            password_set_at=None if password is None else now,
            password_set_by=by.user_name if by is not None and password is not None else None,
        )
        code, new = (None, None) if password is not None else self.logins.new_code()
        return user, code, new

    async def change(self, caller: Caller, name: str, change: UserChange) -> User:
        """Change a user; a new password ends their keys and tokens but the one that is used for it.

        Everybody may change their own address, and their own password by the old one.
        Raises NotFoundError, ForbiddenError, ConflictError ("last_owner", "user_changed").
        """
        edit = Edit(
            caller=caller,
            name=name,
            now=self.clock(),
            role=change.role,
            email=change.email,
            suspended=change.suspended,
            max_workspaces=change.max_workspaces,
            max_waiting_builds=change.max_waiting_builds,
        )
        user = await self._find(caller, name, edit.action)
        if change.password is not None:
            password = await self._new_password(caller, user, change)
            edit = replace(edit, password=password)
        changed = await self._edit(caller, name, edit.action, partial(decide_change, edit))
        whose = "" if user.id == caller.user_id else "somebody else's "
        await self.audit.record(
            caller,
            Action.USER_UPDATE,
            ActionTarget(kind="user", name=name),
            detail=f"role {changed.role}, suspended {changed.suspended}, "
            f"{whose}new password {change.password is not None}{_told_limits(changed)}",
        )
        return changed

    async def delete(self, caller: Caller, name: str) -> None:
        """Delete a user who has no workspaces. Raises NotFoundError, ConflictError."""
        action = Action.USER_DELETE
        await self._find(caller, name, action)
        await self._edit(caller, name, action, partial(decide_deletion, caller, name))
        await self.audit.record(caller, action, ActionTarget(kind="user", name=name))

    async def end_streams(self, caller: Caller, name: str) -> None:
        """End all that is open for a user, for good; new streams may be opened.

        Raises NotFoundError, ForbiddenError.
        """
        action = Action.USER_END_STREAMS
        await self._find(caller, name, action)
        await self._edit(caller, name, action, partial(decide_ending, caller, name))
        await self.audit.record(caller, action, ActionTarget(kind="user", name=name))

    async def _edit(
        self, caller: Caller, name: str, action: Action, decide: Callable[[HeldUsers], UserEdit]
    ) -> User:
        """Write what is decided, and end what it ends."""
        try:
            edited = await self.store.write(
                edit_user, grant_of(caller), caller.role, name, decide, self.clock()
            )
        except ForbiddenError as error:
            resource = ActionTarget(kind="user", name=name)
            await self.audit.record(caller, action, resource, allowed=False, detail=error.message)
            raise
        if edited.ended:
            self.endings.end(edited.user.id)
        elif edited.revoked_tokens:
            self.endings.end(edited.user.id, edited.revoked_tokens)
        if edited.keys_ended:
            await self.endings.end_keys(edited.user.id)
        return edited.user

    async def _new_password(self, caller: Caller, user: User, change: UserChange) -> NewPassword:
        """Hash a new password. Raises InputError, ForbiddenError("old_password_wrong")."""
        assert change.password is not None
        own = user.id == caller.user_id
        if own:
            await self._prove(user, change.old_password)
        hashed = await self.passwords.hash(change.password)
        return NewPassword(hash=hashed, before=user.password_hash, proven=own)

    async def _prove(self, user: User, old_password: str | None) -> None:
        """Who holds a token is not yet the user: the old password says so."""
        if user.password_hash is None:
            raise ForbiddenError(
                "old_password_wrong",
                "you have no password yet",
                hint="log in with a one-time code and choose one: kled login --set-password",
            )
        if old_password is None:
            raise InputError("old_password_missing", "a new password needs the old one")
        if not await self.logins.prove(user, old_password):
            raise ForbiddenError("old_password_wrong", "the old password is wrong")

    async def _find(self, caller: Caller, name: str, action: Action) -> User:
        user = await self.store.read(user_by_name, name)
        owner_id = user.id if user else None
        await self.audit.require(
            caller, action, ActionTarget(kind="user", name=name, owner_id=owner_id)
        )
        if user is None:
            raise user_not_found(name)
        return user


def _told_limits(user: User) -> str:
    """Limits that are this user's alone, for the audit log."""
    limits = {"workspaces": user.max_workspaces, "waiting builds": user.max_waiting_builds}
    return "".join(f", at most {n} {what}" for what, n in limits.items() if n is not None)
