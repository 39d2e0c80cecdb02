"""Login: exchanges a password or a one-time code for an API token."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from kled_coord.addresses import holder_of
from kled_coord.identity.attempts import Attempts
from kled_coord.identity.audit import Audit
from kled_coord.identity.endings import Endings
from kled_coord.identity.passwords import Passwords
from kled_coord.identity.secrets import ONE_TIME_CODE, hash_secret
from kled_coord.identity.service import IdentityService, NewToken
from kled_coord.policy.actions import Action, ActionTarget
from kled_coord.policy.decide import Caller
from kled_coord.policy.roles import ALL_SCOPE, Role
from kled_coord.sources import Clock, Ids, Monotonic
from kled_coord.store.engine import Store
from kled_coord.store.logins import (
    NewLoginCode,
    add_login_code,
    exchange_login_code,
    log_in,
    user_and_address,
)
from kled_coord.store.records import User
from kled_coord.store.users import login_code_user, user_by_name
from kled_wire.errors import LimitError, NotFoundError, UnauthenticatedError
from kled_wire.names import UserId

CODE_LIFETIME: Final = timedelta(hours=24)
# Strangers' wrong tries do not lock out who has logged in from the same address of late.
KNOWN_FOR: Final = timedelta(days=30)


@dataclass(slots=True, kw_only=True)
class Logins:
    """Checks passwords and one-time codes, slowly for those who guess."""

    store: Store
    clock: Clock
    monotonic: Monotonic
    ids: Ids
    audit: Audit
    identity: IdentityService
    endings: Endings
    passwords: Passwords
    _attempts: Attempts = field(init=False, default_factory=Attempts)

    async def login(
        self, *, username: str, password: str, token_name: str, address: str
    ) -> tuple[User, NewToken]:
        """Log in by password. Raises UnauthenticatedError("login_failed"), LimitError."""
        user, known = await self.store.read(
            user_and_address, username, holder_of(address), self.clock() - KNOWN_FOR
        )
        attempt = self._attempts.password(username, address, known=known, now=self.monotonic())
        try:
            password_hash = user.password_hash if user else None
            right = await self.passwords.verify(password, password_hash, known=known)
        except LimitError:
            attempt.forgive()
            raise
        if user is None or not right:
            await self._failed(username, address)
            raise UnauthenticatedError("login_failed", "the user name or the password is wrong")
        if user.suspended:
            await self._failed(username, address)
            raise UnauthenticatedError("user_suspended", f"the user {username} is suspended")
        attempt.forgive()
        new = self.identity.new_token(user.id, token_name, (ALL_SCOPE,), None)
        logged_in = await self.store.write(
            log_in, user, new.token, hash_secret(new.secret), holder_of(address)
        )
        if not logged_in:
            raise UnauthenticatedError("login_failed", "the user has just been changed")
        await self._logged_in(user, new, f"password, from {address}")
        return user, new

    async def exchange(
        self, *, code: str, password: str | None, token_name: str, address: str
    ) -> tuple[User, NewToken]:
        """Log in by one-time code and set the password if one is given, which ends all tokens.

        Only wrong codes are counted: a right one always passes. Raises
        UnauthenticatedError("code_invalid"), LimitError, InputError.
        """
        code_hash = hash_secret(code.strip())
        if await self.store.read(login_code_user, code_hash, self.clock()) is None:
            raise await self._code_refused(address)
        password_hash = None if password is None else await self.passwords.hash(password)
        # The user is only known inside the transaction: the token is completed there.
        new = self.identity.new_token(UserId(""), token_name, (ALL_SCOPE,), None)
        done = await self.store.write(
            exchange_login_code,
            code_hash=code_hash,
            now=self.clock(),
            password_hash=password_hash,
            token=new.token,
            token_hash=hash_secret(new.secret),
            address=holder_of(address),
        )
        if done is None:
            raise await self._code_refused(address)
        if done.revoked_tokens:
            self.endings.end(done.user.id, done.revoked_tokens)
        if password is not None:
            await self.endings.end_keys(done.user.id)
        new = NewToken(token=done.token, secret=new.secret)
        await self._logged_in(done.user, new, f"one-time code, from {address}")
        return done.user, new

    async def prove(self, user: User, password: str) -> bool:
        """Whether somebody who is signed in knows the password too. Raises LimitError."""
        attempt = self._attempts.old_password(user.name, self.monotonic())
        right = await self.passwords.verify(password, user.password_hash, known=True)
        if right:
            attempt.forgive()
        return right

    def new_code(self) -> tuple[str, NewLoginCode]:
        """Make a one-time code without storing it."""
        code = self.ids.secret(ONE_TIME_CODE)
        now = self.clock()
        return code, NewLoginCode(
            code_hash=hash_secret(code), created_at=now, expires_at=now + CODE_LIFETIME
        )

    async def reset(self, username: str) -> str:
        """Give a user a new one-time code, for the command line. Raises NotFoundError."""
        user = await self.store.read(user_by_name, username)
        if user is None:
            raise NotFoundError("user_not_found", f"there is no user {username}")
        code, new = self.new_code()
        await self.store.write(add_login_code, user, new)
        await self.audit.record(None, Action.LOGIN_CODE, ActionTarget(kind="user", name=username))
        return code

    async def _code_refused(self, address: str) -> UnauthenticatedError:
        self._attempts.wrong_code(address, self.monotonic())
        await self._failed("one-time code", address)
        return UnauthenticatedError(
            "code_invalid",
            "this one-time code is wrong, was used already, or is too old",
            hint="ask for a new one: kled-coord user reset-login NAME",
        )

    async def _failed(self, username: str, address: str) -> None:
        await self.audit.note(
            None,
            Action.LOGIN,
            ActionTarget(kind="user", name=username[:64]),
            allowed=False,
            detail=f"from {address}",
        )

    async def _logged_in(self, user: User, new: NewToken, how: str) -> None:
        self.identity.signed_in(new.token)
        caller = Caller(
            user_id=user.id,
            user_name=user.name,
            role=Role(user.role),
            scopes=new.token.scopes,
            token_id=new.token.id,
        )
        await self.audit.record(
            caller, Action.LOGIN, ActionTarget(kind="user", name=user.name), detail=how
        )
