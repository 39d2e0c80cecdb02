"""Transactions of a login: the spent code, the new password and the new token, all or none."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Connection

from kled_coord.store.known_addresses import is_known_address, mark_known_address
from kled_coord.store.records import Token, User
from kled_coord.store.tokens import insert_token, revoke_user_tokens
from kled_coord.store.user_keys import end_user_keys
from kled_coord.store.users import (
    drop_login_codes,
    hold_first_owner,
    hold_user,
    insert_login_code,
    insert_user,
    login_code_user,
    update_user,
    use_login_code,
    user_by_name,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewLoginCode:
    """A one-time code to store."""

    code_hash: bytes
    created_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedIn:
    """Who logged in, with which token, and the tokens that were revoked with it."""

    user: User
    token: Token
    revoked_tokens: frozenset[str] = frozenset()


def log_in(
    connection: Connection, user: User, token: Token, token_hash: bytes, address: str
) -> bool:
    """Add the token of a user whose password was right; False when that has changed since.

    `address` is known for the user from now on.
    """
    now = hold_user(connection, user.id)
    if now is None or now.suspended or now.password_hash != user.password_hash:
        return False
    _insert_login_token(connection, token, token_hash, address)
    return True


def exchange_login_code(
    connection: Connection,
    *,
    code_hash: bytes,
    now: datetime,
    password_hash: str | None,
    token: Token,
    token_hash: bytes,
    address: str,
) -> LoggedIn | None:
    """Spend a code: add `token` with its user filled in, and set the password if one is given.

    A new password ends the user's other tokens and codes. `address` is known for the user from now
    on. Returns None when the code is no good.
    """
    user_id = login_code_user(connection, code_hash, now)
    user = None if user_id is None else hold_user(connection, user_id)
    if user is None or user.suspended or not use_login_code(connection, code_hash, now):
        return None
    revoked: frozenset[str] = frozenset()
    user = replace(user, code_used_at=now)
    if password_hash is not None:
        user = replace(
            user, password_hash=password_hash, password_set_at=now, password_set_by=user.name
        )
        end_user_keys(connection, user.id)
        revoked = revoke_user_tokens(connection, user.id, now)
        drop_login_codes(connection, user.id)
    update_user(connection, user)
    token = replace(token, user_id=user.id)
    _insert_login_token(connection, token, token_hash, address)
    return LoggedIn(user=user, token=token, revoked_tokens=revoked)


def _insert_login_token(
    connection: Connection, token: Token, token_hash: bytes, address: str
) -> None:
    """Add the token of a login, and remember where its user logged in from."""
    insert_token(connection, token, token_hash)
    mark_known_address(connection, token.user_id, address, token.created_at)


def user_and_address(
    connection: Connection, name: str, address: str, since: datetime
) -> tuple[User | None, bool]:
    """The user of that name, and whether they have logged in from `address` since then."""
    user = user_by_name(connection, name)
    return user, user is not None and is_known_address(connection, user.id, address, since)


def add_user(connection: Connection, user: User, code: NewLoginCode | None) -> None:
    """Add a user and, where there is no password, the code they log in with."""
    insert_user(connection, user)
    if code is not None:
        add_login_code(connection, user, code)


def add_first_owner(connection: Connection, user: User, code: NewLoginCode) -> str | None:
    """Add the first owner with the code they log in with; the name of one that is there already.

    Of two at once the second finds the first's.
    """
    owner = hold_first_owner(connection)
    if owner is None:
        add_user(connection, user, code)
    return owner


def add_login_code(connection: Connection, user: User, code: NewLoginCode) -> None:
    """Give a user a new one-time code; earlier ones die."""
    hold_user(connection, user.id)
    insert_login_code(connection, code.code_hash, user.id, code.created_at, code.expires_at)
