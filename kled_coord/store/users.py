"""Queries: users and their one-time login codes."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select, text, update

from kled_coord.store.records import User
from kled_coord.store.schema import login_codes, users, workspaces
from kled_wire.names import UserId

_COLUMNS = (
    users.c.id,
    users.c.name,
    users.c.email,
    users.c.role,
    users.c.password_hash,
    users.c.suspended,
    users.c.endings,
    users.c.created_at,
    users.c.last_seen_at,
    users.c.password_set_at,
    users.c.password_set_by,
    users.c.code_used_at,
    users.c.max_workspaces,
    users.c.max_waiting_builds,
)
_ALIVE = users.c.deleted_at.is_(None)


def insert_user(connection: Connection, user: User) -> None:
    """Add a user. Raises DuplicateError when the name is taken."""
    connection.execute(
        insert(users).values(
            id=user.id,
            name=user.name,
            email=user.email,
            role=user.role,
            password_hash=user.password_hash,
            suspended=user.suspended,
            endings=user.endings,
            created_at=user.created_at,
            password_set_at=user.password_set_at,
            password_set_by=user.password_set_by,
        )
    )


def user_by_name(connection: Connection, name: str) -> User | None:
    """The user of that name, unless deleted."""
    return _user(connection.execute(select(*_COLUMNS).where(users.c.name == name, _ALIVE)).first())


def user_by_id(connection: Connection, user_id: str) -> User | None:
    """The user of that id, unless deleted."""
    return _user(connection.execute(select(*_COLUMNS).where(users.c.id == user_id, _ALIVE)).first())


def hold_user(connection: Connection, user_id: str) -> User | None:
    """The user of that id, unless deleted, held against other writers. Take it before the rest."""
    query = select(*_COLUMNS).where(users.c.id == user_id, _ALIVE).with_for_update(key_share=True)
    return _user(connection.execute(query).first())


def hold_users(connection: Connection, caller_id: str, name: str) -> list[User]:
    """All owners, the user of that id and the one of that name, held against other writers.

    Always in the same order, or two transactions could wait for each other.
    """
    rows = connection.execute(
        select(*_COLUMNS)
        .where(
            _ALIVE, (users.c.role == "owner") | (users.c.id == caller_id) | (users.c.name == name)
        )
        .order_by(users.c.id)
        .with_for_update(key_share=True)
    )
    return [User(**row._asdict()) for row in rows]


def hold_first_owner(connection: Connection) -> str | None:
    """The name of an owner; until the transaction ends nobody adds a user."""
    if connection.dialect.name == "postgresql":
        # No row exists that could be locked. SQLite has a single writer anyway.
        connection.execute(text("LOCK TABLE users IN SHARE ROW EXCLUSIVE MODE"))
    query = select(users.c.name).where(_ALIVE, users.c.role == "owner").order_by(users.c.name)
    return connection.execute(query).scalars().first()


def list_users(connection: Connection) -> list[User]:
    """All users, by name."""
    rows = connection.execute(select(*_COLUMNS).where(_ALIVE).order_by(users.c.name))
    return [User(**row._asdict()) for row in rows]


def update_user(connection: Connection, user: User) -> None:
    """Write the fields of `user` that may change."""
    connection.execute(
        update(users)
        .where(users.c.id == user.id)
        .values(
            email=user.email,
            role=user.role,
            password_hash=user.password_hash,
            suspended=user.suspended,
            endings=user.endings,
            password_set_at=user.password_set_at,
            password_set_by=user.password_set_by,
            code_used_at=user.code_used_at,
            max_workspaces=user.max_workspaces,
            max_waiting_builds=user.max_waiting_builds,
        )
    )


def mark_user_seen(connection: Connection, user_id: str, now: datetime) -> None:
    """Remember when a user was last here."""
    connection.execute(update(users).where(users.c.id == user_id).values(last_seen_at=now))


def mark_user_deleted(connection: Connection, user_id: str, now: datetime) -> None:
    """Delete a user; the name is free again."""
    connection.execute(update(users).where(users.c.id == user_id).values(deleted_at=now))


def count_owned_workspaces(connection: Connection, user_id: str) -> int:
    """How many workspaces of a user are not deleted."""
    found = connection.execute(
        select(func.count()).where(
            workspaces.c.owner_id == user_id, workspaces.c.deleted_at.is_(None)
        )
    )
    return int(found.scalar_one())


def drop_login_codes(connection: Connection, user_id: str) -> None:
    """Drop the one-time codes of a user that have not been used."""
    connection.execute(
        delete(login_codes).where(login_codes.c.user_id == user_id, login_codes.c.used_at.is_(None))
    )


def insert_login_code(
    connection: Connection, code_hash: bytes, user_id: str, now: datetime, expires_at: datetime
) -> None:
    """Add a one-time code; earlier unused codes of the user die."""
    drop_login_codes(connection, user_id)
    connection.execute(
        insert(login_codes).values(
            code_hash=code_hash, user_id=user_id, created_at=now, expires_at=expires_at
        )
    )


def use_login_code(connection: Connection, code_hash: bytes, now: datetime) -> bool:
    """Spend a one-time code; False when it is unknown, spent or too old."""
    spent = connection.execute(
        update(login_codes)
        .where(
            login_codes.c.code_hash == code_hash,
            login_codes.c.used_at.is_(None),
            login_codes.c.expires_at > now,
        )
        .values(used_at=now)
        .returning(login_codes.c.user_id)
    )
    return spent.first() is not None


def login_code_user(connection: Connection, code_hash: bytes, now: datetime) -> UserId | None:
    """Whose code this is, None when it can no longer be spent."""
    found = connection.execute(
        select(login_codes.c.user_id).where(
            login_codes.c.code_hash == code_hash,
            login_codes.c.used_at.is_(None),
            login_codes.c.expires_at > now,
        )
    ).first()
    return None if found is None else UserId(found.user_id)


def prune_login_codes(connection: Connection, now: datetime) -> None:
    """Drop codes that can no longer be used."""
    connection.execute(delete(login_codes).where(login_codes.c.expires_at <= now))


def _user(row: Row[*tuple[Any, ...]] | None) -> User | None:
    return None if row is None else User(**row._asdict())
