"""Public keys that users register, for SSH clients without certificates.

A key opens nothing by itself: a stream still takes an API token and the policy, and the agent takes
the key only on a stream of the user who registered it (docs/adr/0013-registered-keys.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from kled_coord.identity.audit import Audit
from kled_coord.identity.endings import KeyHolders
from kled_coord.identity.key_line import KeyLine, parse_key_line
from kled_coord.identity.service import IdentityService
from kled_coord.policy.actions import Action, ActionTarget
from kled_coord.policy.decide import Caller
from kled_coord.sources import Clock, Ids
from kled_coord.store.engine import Store
from kled_coord.store.records import RegisteredKey, Workspace
from kled_coord.store.user_keys import (
    Added,
    add_user_key,
    list_user_keys,
    remove_user_key,
    user_key_by_id,
)
from kled_wire.errors import (
    ConflictError,
    ForbiddenError,
    InputError,
    LimitError,
    NotFoundError,
    UnauthenticatedError,
)

MOST: Final = 20
LIFETIME_S: Final = 90 * 86400.0
_LIFETIME_MAX_S: Final = 10 * 365 * 86400.0
_NAME_MAX: Final = 80
_SIGN_IN: Final = "sign in again: kled login; then repeat this"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyChange:
    """A key that was added or removed, and the workspaces whose agents do not know yet."""

    key: RegisteredKey
    unanswered: Sequence[str]


@dataclass(slots=True, kw_only=True)
class Keys:
    """Adds, lists and removes registered keys, as the policy allows."""

    store: Store
    clock: Clock
    ids: Ids
    audit: Audit
    identity: IdentityService
    holders: KeyHolders
    allowed: bool

    async def add(
        self,
        caller: Caller,
        *,
        line: str,
        name: str | None,
        workspace: Workspace | None,
        lifetime_s: float | None,
    ) -> KeyChange:
        """Register a key of the caller's; `workspace` None: for all of theirs.

        The caller may enter `workspace`. Raises InputError, ForbiddenError, ConflictError,
        LimitError.
        """
        resource = ActionTarget(kind="key", name=name or "", owner_id=caller.user_id)
        await self.audit.require(caller, Action.KEY_ADD, resource)
        refusal = self._refusal(caller)
        if refusal is not None:
            await self.audit.record(
                caller, Action.KEY_ADD, resource, allowed=False, detail=refusal.message
            )
            raise refusal
        key = self._new(caller, parse_key_line(line), name, workspace, lifetime_s)
        added = await self.store.write(add_user_key, key, token_id=caller.token_id, most=MOST)
        _check_added(added, key)
        unanswered = await self.holders.tell(caller.user_id)
        where = f"workspace {workspace.id}" if workspace else "all workspaces"
        until = f"until {key.expires_at:%Y-%m-%d %H:%M} UTC"
        detail = f"{key.fingerprint}, {where}, {until}"
        await self.audit.record(
            caller, Action.KEY_ADD, ActionTarget(kind="key", name=key.id), detail=detail
        )
        return KeyChange(key=key, unanswered=unanswered)

    def _refusal(self, caller: Caller) -> ForbiddenError | None:
        if not self.allowed:
            return ForbiddenError(
                "user_keys_off", "this coordinator does not accept registered keys"
            )
        if not self.identity.has_just_signed_in(caller):
            return ForbiddenError(
                "sign_in_needed",
                "to add a key you must have signed in within the last ten minutes",
                hint=_SIGN_IN,
            )
        return None

    def _new(
        self,
        caller: Caller,
        parsed: KeyLine,
        name: str | None,
        workspace: Workspace | None,
        lifetime_s: float | None,
    ) -> RegisteredKey:
        lifetime = LIFETIME_S if lifetime_s is None else lifetime_s
        if not 0 < lifetime <= _LIFETIME_MAX_S:
            raise InputError(
                "input_invalid", f"lifetime_s: more than 0, at most {_LIFETIME_MAX_S:.0f} seconds"
            )
        now = self.clock()
        return RegisteredKey(
            id=self.ids.new("key"),
            user_id=caller.user_id,
            workspace_id=workspace.id if workspace else None,
            workspace=workspace.name if workspace else None,
            name=_plain(name or parsed.comment) or "unnamed",
            public_key=parsed.key,
            fingerprint=parsed.fingerprint,
            created_at=now,
            expires_at=now + timedelta(seconds=lifetime),
            last_used_at=None,
        )

    async def list_for(self, caller: Caller) -> list[RegisteredKey]:
        """The caller's keys, the newest first."""
        resource = ActionTarget(kind="key", owner_id=caller.user_id)
        await self.audit.require(caller, Action.KEY_READ, resource)
        return await self.store.read(list_user_keys, caller.user_id)

    async def remove(self, caller: Caller, key_id: str) -> KeyChange:
        """Remove a key of the caller's, or anybody's for an admin. Raises NotFoundError."""
        key = await self.store.read(user_key_by_id, key_id)
        resource = ActionTarget(kind="key", name=key_id, owner_id=key.user_id if key else None)
        if key is None:
            raise NotFoundError("key_not_found", f"there is no key {key_id}", hint="kled key list")
        await self.audit.require(caller, Action.KEY_REMOVE, resource)
        await self.store.write(remove_user_key, key_id)
        unanswered = await self.holders.tell(key.user_id)
        await self.audit.record(caller, Action.KEY_REMOVE, resource, detail=key.fingerprint)
        return KeyChange(key=key, unanswered=unanswered)


def _plain(name: str) -> str:
    """`name` as it may reach terminals: comments of keys are anybody's."""
    return "".join(c for c in name if c.isprintable())[:_NAME_MAX]


def _check_added(added: Added, key: RegisteredKey) -> None:
    if added is Added.NOT_ALLOWED:
        raise UnauthenticatedError("token_revoked", "this token has been revoked", hint=_SIGN_IN)
    if added is Added.EXISTS:
        raise ConflictError(
            "key_exists",
            f"this key is registered already: {key.fingerprint}",
            hint="to change its lifetime, remove it first: kled key list",
        )
    if added is Added.TOO_MANY:
        raise LimitError(
            "keys_limit", f"you have {MOST} keys already", hint="kled key list, kled key remove ID"
        )
