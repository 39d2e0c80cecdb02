"""Queries: API tokens, looked up by the SHA-256 of their secret."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from kled_coord.store.records import Token, User
from kled_coord.store.schema import tokens
from kled_coord.store.users import mark_user_seen, user_by_id

_COLUMNS = (
    tokens.c.id,
    tokens.c.user_id,
    tokens.c.name,
    tokens.c.scopes,
    tokens.c.created_at,
    tokens.c.expires_at,
    tokens.c.last_used_at,
    tokens.c.revoked_at,
)


def insert_token(connection: Connection, token: Token, token_hash: bytes) -> None:
    """Add a token."""
    connection.execute(
        insert(tokens).values(
            id=token.id,
            user_id=token.user_id,
            name=token.name,
            scopes=",".join(token.scopes),
            token_hash=token_hash,
            created_at=token.created_at,
            expires_at=token.expires_at,
        )
    )


def insert_token_with(
    connection: Connection, token_id: str, decide: Callable[[Token], Token], token_hash: bytes
) -> Token:
    """Add a token that is made with another one, as `decide` says that sees the other."""
    row = connection.execute(select(*_COLUMNS).where(tokens.c.id == token_id)).one()
    token = decide(_token(row))
    insert_token(connection, token, token_hash)
    return token


def token_and_user(connection: Connection, token_hash: bytes) -> tuple[Token, User | None] | None:
    """The token whose secret hashes to `token_hash`, also when expired or revoked, and its user."""
    row = connection.execute(
        select(*_COLUMNS, tokens.c.token_hash).where(tokens.c.token_hash == token_hash)
    ).first()
    if row is None or not hmac.compare_digest(bytes(row.token_hash), token_hash):
        return None
    token = _token(row)
    return token, user_by_id(connection, token.user_id)


def token_by_id(connection: Connection, token_id: str) -> Token | None:
    """The token of that id."""
    row = connection.execute(select(*_COLUMNS).where(tokens.c.id == token_id)).first()
    return None if row is None else _token(row)


def list_tokens(connection: Connection, user_id: str) -> list[Token]:
    """A user's tokens, the newest first."""
    rows = connection.execute(
        select(*_COLUMNS)
        .where(tokens.c.user_id == user_id)
        .order_by(tokens.c.created_at.desc(), tokens.c.id)
    )
    return [_token(row) for row in rows]


def mark_token_used(connection: Connection, token: Token, now: datetime) -> None:
    """Remember when a token, and so its user, was last here."""
    # Always the user before their tokens, or two transactions could wait for each other.
    mark_user_seen(connection, token.user_id, now)
    connection.execute(update(tokens).where(tokens.c.id == token.id).values(last_used_at=now))


def revoke_token(connection: Connection, token_id: str, now: datetime) -> None:
    """Revoke one token; the first revocation's time stays."""
    connection.execute(
        update(tokens)
        .where(tokens.c.id == token_id, tokens.c.revoked_at.is_(None))
        .values(revoked_at=now)
    )


def revoke_user_tokens(
    connection: Connection, user_id: str, now: datetime, keep_id: str = ""
) -> frozenset[str]:
    """Revoke every token of a user but `keep_id`; returns the ids revoked now."""
    revoked = connection.execute(
        update(tokens)
        .where(
            tokens.c.user_id == user_id,
            tokens.c.revoked_at.is_(None),
            tokens.c.id != keep_id,
        )
        .values(revoked_at=now)
        .returning(tokens.c.id)
    )
    return frozenset(revoked.scalars())


def _token(row: Row[*tuple[Any, ...]]) -> Token:
    values = row._asdict()
    values.pop("token_hash", None)
    return Token(**{**values, "scopes": tuple(values["scopes"].split(","))})
