"""Transactions of logging in: a spent code, a new password and the token it gave, all or none."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Connection

from kled_coord.store.known_addresses import is_known_address, mark_known_address
from kled_coord.store.records import Token, User
from kled_coord.store.tokens import insert_token, revoke_user_tokens
from kled_coord.store.user_keys import end_user_keys
from kled_coord.store.users import (
    insert_login_code,
    insert_user,
    mark_user_deleted,
    update_user,
    use_login_code,
    user_by_id,
    user_by_name,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewLoginCode:
    """A one-time code to store."""

    code_hash: bytes
    created_at: datetime
    expires_at: datetime


def exchange_login_code(
    connection: Connection,
    *,
    code_hash: bytes,
    now: datetime,
    password_hash: str | None,
    token: Token,
    token_hash: bytes,
    address: str,
) -> tuple[User, Token] | None:
    """Spend a code: set the password if one is given, add `token` with its user filled in.

    `address` is known for this user from now on. Returns None when the code is no good.
    """
    user_id = use_login_code(connection, code_hash, now)
    user = None if user_id is None else user_by_id(connection, user_id)
    if user is None or user.suspended:
        return None
    if password_hash is not None:
        user = replace(user, password_hash=password_hash)
        update_user(connection, user)
        end_user_keys(connection, user.id)
    token = replace(token, user_id=user.id)
    insert_login_token(connection, token, token_hash, address)
    return user, token


def insert_login_token(
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


def add_login_code(connection: Connection, user: User, code: NewLoginCode) -> None:
    """Give a user a new one-time code; earlier ones die."""
    insert_login_code(connection, code.code_hash, user.id, code.created_at, code.expires_at)


def save_user(
    connection: Connection, user: User, now: datetime, *, revoke: bool, keep_token: str
) -> None:
    """Write a changed user; `revoke` ends their tokens as well, but for one, and their keys.

    A suspension ends their keys too.
    """
    update_user(connection, user)
    if revoke or user.suspended:
        end_user_keys(connection, user.id)
    if revoke:
        revoke_user_tokens(connection, user.id, now, keep_token)


def remove_user(connection: Connection, user: User, now: datetime) -> None:
    """Delete a user and end their tokens and keys."""
    mark_user_deleted(connection, user.id, now)
    end_user_keys(connection, user.id)
    revoke_user_tokens(connection, user.id, now)
