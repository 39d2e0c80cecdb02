"""The identity service: maps secrets to callers and agents, and makes API tokens."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Final

import structlog

from kled_coord.identity.audit import Audit
from kled_coord.identity.endings import Endings
from kled_coord.identity.grants import grant_of
from kled_coord.identity.openings import Opening, Openings
from kled_coord.identity.secrets import AGENT_TOKEN, API_TOKEN, hash_secret, is_api_token
from kled_coord.identity.sign_ins import SignIns
from kled_coord.identity.throttle import Throttle
from kled_coord.policy.actions import Action, ActionTarget
from kled_coord.policy.decide import Caller
from kled_coord.policy.roles import SCOPES, Role
from kled_coord.sources import Clock, Ids, Monotonic
from kled_coord.store.agents import agent_by_token
from kled_coord.store.engine import Store
from kled_coord.store.errors import StoreError
from kled_coord.store.records import AgentRecord, Token, User
from kled_coord.store.standing import as_caller
from kled_coord.store.tokens import (
    insert_token_with,
    list_tokens,
    mark_token_used,
    revoke_token,
    token_and_user,
    token_by_id,
)
from kled_wire.errors import ForbiddenError, InputError, NotFoundError, UnauthenticatedError
from kled_wire.names import UserId

# "Last used" is for people; writing it at every request would be a write per read.
_USED_EVERY: Final = timedelta(minutes=1)
_LIFETIME_MAX_S: Final = 10 * 365 * 86400
_LOGIN_AGAIN: Final = "log in again: kled login"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewToken:
    """A token that was just made; `secret` is shown once and kept nowhere."""

    token: Token
    secret: str


class AgentRevokedError(UnauthenticatedError):
    """A revoked agent wants to connect."""

    def __init__(self, agent: AgentRecord) -> None:
        super().__init__(
            "token_revoked",
            f"the token of agent {agent.id} was revoked",
            hint="its workspace was deleted or gave it up; start the workspace again",
        )
        self.agent = agent


@dataclass(slots=True, kw_only=True)
class IdentityService:
    """Authenticates callers and agents, and keeps API tokens.

    Revoking one ends what was opened with it.
    """

    store: Store
    clock: Clock
    monotonic: Monotonic
    ids: Ids
    audit: Audit
    openings: Openings
    endings: Endings
    lifetime_s: float
    # How often notes are tried for each token where none can be written.
    _noting: Throttle = field(
        init=False, default_factory=lambda: Throttle(1, _USED_EVERY.total_seconds())
    )
    _sign_ins: SignIns = field(init=False, default_factory=SignIns)

    async def authenticate(self, bearer: str) -> Caller:
        """Who holds this API token.

        Raises UnauthenticatedError: token_unknown, token_expired, token_revoked, user_suspended.
        """
        found = None
        if is_api_token(bearer):
            found = await self.store.read(token_and_user, hash_secret(bearer))
        if found is None:
            raise UnauthenticatedError("token_unknown", "this token is unknown", hint=_LOGIN_AGAIN)
        token, user = found
        caller = _caller(token, user)
        now = self.clock()
        refusal = _refusal(token, user, now)
        if refusal is not None:
            resource = ActionTarget(kind="token", name=token.id)
            await self.audit.refused(caller, Action.AUTHENTICATE, resource, refusal.message)
            raise refusal
        if token.last_used_at is None or now - token.last_used_at >= _USED_EVERY:
            await self._note_use(token, now)
        return caller

    async def _note_use(self, token: Token, now: datetime) -> None:
        """Remember the use, if that can be written: nobody is locked out by a full disk."""
        if not self._noting.allow(token.id, self.monotonic()):
            return
        try:
            await self.store.write(mark_token_used, token, now)
        except StoreError as error:
            log.warning("token_use_not_noted", code=error.code, token=token.id)

    def signed_in(self, token: Token) -> None:
        """Somebody has just got this token for a password or a one-time code."""
        self._sign_ins.note(token.id, self.monotonic())

    def has_just_signed_in(self, caller: Caller) -> bool:
        """Whether the token that the caller uses was got like that in the last ten minutes."""
        return self._sign_ins.is_recent(caller.token_id, self.monotonic())

    @asynccontextmanager
    async def admitted(self, bearer: str) -> AsyncIterator[Opening]:
        """Let in who holds this API token, for something that stays open.

        The block is cancelled when that access ends. Raises UnauthenticatedError.
        """
        while True:
            before = self.openings.endings
            caller = await self.authenticate(bearer)
            if self.openings.endings == before:
                break  # nothing ended between the look and the holding
        with self.openings.held(caller) as opening:
            yield opening

    async def authenticate_agent(self, bearer: str) -> AgentRecord:
        """The agent that holds this agent token.

        Raises UnauthenticatedError("token_unknown"), AgentRevokedError.
        """
        agent = None
        if bearer.startswith(AGENT_TOKEN):
            agent = await self.store.read(agent_by_token, hash_secret(bearer))
        if agent is None:
            raise UnauthenticatedError("token_unknown", "this agent token is unknown")
        if agent.revoked_at is not None:
            raise AgentRevokedError(agent)
        return agent

    def new_token(
        self, user_id: UserId, name: str, scopes: tuple[str, ...], lifetime_s: float | None
    ) -> NewToken:
        """Make a token without storing it. `lifetime_s` 0: never expires; None: the default."""
        lifetime = self.lifetime_s if lifetime_s is None else lifetime_s
        now = self.clock()
        token = Token(
            id=self.ids.new("tok"),
            user_id=user_id,
            name=name[:80] or "unnamed",
            scopes=scopes,
            created_at=now,
            expires_at=now + timedelta(seconds=lifetime) if lifetime else None,
            last_used_at=None,
            revoked_at=None,
        )
        return NewToken(token=token, secret=self.ids.secret(API_TOKEN))

    async def create_token(
        self, caller: Caller, *, name: str, scopes: tuple[str, ...], lifetime_s: float | None
    ) -> NewToken:
        """Give the caller another token, never a stronger one, nor one that lives longer.

        `lifetime_s` 0: never expires; None: the default, or as long as the one that is used. Only
        after a sign-in of the last ten minutes it may be longer. Raises InputError, ForbiddenError.
        """
        resource = ActionTarget(kind="token", name=name, owner_id=caller.user_id)
        await self.audit.require(caller, Action.TOKEN_CREATE, resource)
        unknown = [scope for scope in scopes if scope not in SCOPES]
        if unknown or not scopes:
            raise InputError(
                "input_invalid",
                f"scopes: {', '.join(unknown) or 'none given'}",
                hint=f"scopes are {', '.join(SCOPES)}",
            )
        if lifetime_s is not None and not 0 <= lifetime_s <= _LIFETIME_MAX_S:
            raise InputError(
                "input_invalid", f"lifetime_s: use 0 (never) to {_LIFETIME_MAX_S} seconds"
            )
        new = self.new_token(caller.user_id, name, scopes, lifetime_s)
        fresh, asked = self.has_just_signed_in(caller), lifetime_s is not None
        token = await self.store.write(
            as_caller,
            grant_of(caller),
            caller.role,
            insert_token_with,
            caller.token_id,
            partial(_bounded, new.token, fresh=fresh, asked=asked),
            hash_secret(new.secret),
        )
        await self.audit.record(
            caller, Action.TOKEN_CREATE, ActionTarget(kind="token", name=token.id)
        )
        return replace(new, token=token)

    async def tokens(self, caller: Caller) -> list[Token]:
        """The caller's tokens, the newest first."""
        resource = ActionTarget(kind="token", owner_id=caller.user_id)
        await self.audit.require(caller, Action.TOKEN_READ, resource)
        return await self.store.read(list_tokens, caller.user_id)

    async def revoke(self, caller: Caller, token_id: str) -> None:
        """Revoke a token of the caller's, or anybody's for an admin. Raises NotFoundError."""
        token = await self.store.read(token_by_id, token_id)
        owner_id = token.user_id if token else None
        resource = ActionTarget(kind="token", name=token_id, owner_id=owner_id)
        if token is None:
            raise NotFoundError("token_not_found", f"there is no token {token_id}")
        await self.audit.require(caller, Action.TOKEN_REVOKE, resource)
        await self.store.write(revoke_token, token_id, self.clock())
        self.endings.end(token.user_id, {token_id})
        await self.audit.record(caller, Action.TOKEN_REVOKE, resource)

    async def logout(self, caller: Caller) -> None:
        """Revoke the token the caller uses; every scope may do that to itself."""
        await self.store.write(revoke_token, caller.token_id, self.clock())
        self.endings.end(caller.user_id, {caller.token_id})
        await self.audit.record(
            caller, Action.LOGOUT, ActionTarget(kind="token", name=caller.token_id)
        )


def _bounded(token: Token, used: Token, *, fresh: bool, asked: bool) -> Token:
    """A token that lives no longer than the one that is used for it. Raises ForbiddenError."""
    until = used.expires_at
    if fresh or until is None or (token.expires_at is not None and token.expires_at <= until):
        return token
    if asked:
        raise ForbiddenError(
            "token_outlives",
            f"the token that you use ends at {until:%Y-%m-%d %H:%M} UTC, the new one would later",
            hint="log in again (kled login), and make it within ten minutes",
        )
    return replace(token, expires_at=until)


def _caller(token: Token, user: User | None) -> Caller:
    return Caller(
        user_id=token.user_id,
        user_name=user.name if user else "",
        role=Role(user.role) if user else Role.MEMBER,
        scopes=token.scopes,
        token_id=token.id,
        endings=user.endings if user else 0,
    )


def _refusal(token: Token, user: User | None, now: datetime) -> UnauthenticatedError | None:
    if token.revoked_at is not None or user is None:
        return UnauthenticatedError(
            "token_revoked", f"the token {token.id} was revoked", hint=_LOGIN_AGAIN
        )
    if token.expires_at is not None and token.expires_at <= now:
        return UnauthenticatedError(
            "token_expired",
            f"the token {token.id} expired at {token.expires_at:%Y-%m-%d %H:%M} UTC",
            hint=_LOGIN_AGAIN,
        )
    if user.suspended:
        return UnauthenticatedError(
            "user_suspended", f"the user {user.name} is suspended", hint="ask an admin"
        )
    return None
