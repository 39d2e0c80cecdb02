"""Users: who exists, their role and whether they may come in."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from kled_coord.identity.audit import Audit
from kled_coord.identity.keys import KeyHolders
from kled_coord.identity.logins import Logins
from kled_coord.identity.passwords import Passwords
from kled_coord.policy.actions import Action, Resource
from kled_coord.policy.decide import Caller
from kled_coord.policy.roles import Role
from kled_coord.sources import Clock, Ids
from kled_coord.store.engine import Store
from kled_coord.store.errors import DuplicateError
from kled_coord.store.logins import add_user, remove_user, save_user
from kled_coord.store.records import User
from kled_coord.store.users import (
    count_active_owners,
    count_owned_workspaces,
    list_users,
    user_by_name,
)
from kled_wire.errors import ConflictError, InputError, NotFoundError
from kled_wire.names import UserId, check_name

# `GET /api/v1/users/me` is the caller.
_RESERVED: Final = frozenset({"me"})


@dataclass(frozen=True, slots=True, kw_only=True)
class UserChange:
    """What to change; None leaves a field as it is."""

    role: Role | None = None
    password: str | None = None
    email: str | None = None
    suspended: bool | None = None


class Users:
    """Creates, changes and deletes users, as the policy allows."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        ids: Ids,
        audit: Audit,
        logins: Logins,
        passwords: Passwords,
        holders: KeyHolders,
    ) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids
        self._audit = audit
        self._logins = logins
        self._passwords = passwords
        self._holders = holders

    async def list_all(self, caller: Caller) -> list[User]:
        """All users, by name."""
        await self._audit.require(caller, Action.USER_READ, Resource(kind="user", name="*"))
        return await self._store.read(list_users)

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
        resource = Resource(kind="user", name=name)
        await self._audit.require(caller, action, resource)
        made = await self.add(name=name, role=role, password=password, email=email)
        await self._audit.record(caller, action, resource, detail=f"role {role}")
        return made

    async def add(
        self, *, name: str, role: Role, password: str | None, email: str | None
    ) -> tuple[User, str | None]:
        """Add a user without asking the policy: for `create` and for `kled-coord init`."""
        user = User(
            id=UserId(self._ids.new("usr")),
            name=check_name("user", name),
            email=email,
            role=role.value,
            password_hash=None if password is None else await self._passwords.hash(password),
            suspended=False,
            created_at=self._clock(),
            last_seen_at=None,
        )
        code, new = (None, None) if password is not None else self._logins.new_code()
        try:
            await self._store.write(add_user, user, new)
        except DuplicateError as error:
            raise ConflictError("user_exists", f"there is a user {name} already") from error
        return user, code

    async def change(self, caller: Caller, name: str, change: UserChange) -> User:
        """Change a user; a new password ends their keys and tokens but the one that is used for it.

        Everybody may change their own password and address. Raises NotFoundError, ForbiddenError,
        ConflictError("last_owner").
        """
        own = name == caller.user_name and change.role is None and change.suspended is None
        user = await self._find(caller, name, Action.USER_UPDATE_OWN if own else Action.USER_UPDATE)
        if not own and Role.OWNER in {user.role, change.role}:
            resource = Resource(kind="user", name=name)
            await self._audit.require(caller, Action.USER_MANAGE_OWNER, resource)
        password_hash = user.password_hash
        if change.password is not None:
            password_hash = await self._passwords.hash(change.password)
        changed = replace(
            user,
            role=user.role if change.role is None else change.role.value,
            email=user.email if change.email is None else change.email,
            suspended=user.suspended if change.suspended is None else change.suspended,
            password_hash=password_hash,
        )
        if user.role == Role.OWNER and (changed.role != Role.OWNER or changed.suspended):
            await self._keep_an_owner(user)
        revoke = change.password is not None
        await self._store.write(
            save_user, changed, self._clock(), revoke=revoke, keep_token=caller.token_id
        )
        if revoke or changed.suspended:
            await self._holders.tell(user.id)
        await self._audit.record(
            caller,
            Action.USER_UPDATE,
            Resource(kind="user", name=name),
            detail=f"role {changed.role}, suspended {changed.suspended}, new password {revoke}",
        )
        return changed

    async def delete(self, caller: Caller, name: str) -> None:
        """Delete a user who has no workspaces. Raises NotFoundError, ConflictError."""
        user = await self._find(caller, name, Action.USER_DELETE)
        resource = Resource(kind="user", name=name)
        if user.role == Role.OWNER:
            await self._audit.require(caller, Action.USER_MANAGE_OWNER, resource)
            await self._keep_an_owner(user)
        owned = await self._store.read(count_owned_workspaces, user.id)
        if owned:
            raise ConflictError(
                "user_has_workspaces",
                f"{name} still has {owned} workspace{'s' if owned > 1 else ''}",
                hint="delete them first",
            )
        await self._store.write(remove_user, user, self._clock())
        await self._holders.tell(user.id)
        await self._audit.record(caller, Action.USER_DELETE, resource)

    async def _find(self, caller: Caller, name: str, action: Action) -> User:
        user = await self._store.read(user_by_name, name)
        owner_id = user.id if user else None
        await self._audit.require(
            caller, action, Resource(kind="user", name=name, owner_id=owner_id)
        )
        if user is None:
            raise NotFoundError("user_not_found", f"there is no user {name}", hint="kled user list")
        return user

    async def _keep_an_owner(self, user: User) -> None:
        if not user.suspended and await self._store.read(count_active_owners) <= 1:
            raise ConflictError("last_owner", f"{user.name} is the only owner")
