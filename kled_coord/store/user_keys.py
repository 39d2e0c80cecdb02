"""Queries: public keys that users registered, and the agents that may accept them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto

from sqlalchemy import Connection, and_, delete, insert, or_, select, update

from kled_coord.store.records import RegisteredKey
from kled_coord.store.schema import agents, tokens, user_keys, users, workspaces
from kled_wire.names import AgentId

_KEYS = select(user_keys, workspaces.c.name.label("workspace")).select_from(
    user_keys.outerjoin(workspaces, workspaces.c.id == user_keys.c.workspace_id)
)
# A key for one workspace ends with it.
_IN_USE = or_(user_keys.c.workspace_id.is_(None), workspaces.c.deleted_at.is_(None))


class Added(Enum):
    """What became of a key that was to be added."""

    ADDED = auto()
    NOT_ALLOWED = auto()
    EXISTS = auto()
    TOO_MANY = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyHolder:
    """An agent that lets a user's keys in, and when it was last heard of."""

    agent_id: AgentId
    workspace: str
    last_seen_at: datetime | None


def add_user_key(connection: Connection, key: RegisteredKey, *, token_id: str, most: int) -> Added:
    """Add a key, unless its user or the token it is added with has ended in the meantime.

    Keys of the user that have expired go.
    """
    # Locked: a new password, a suspension and another key wait for this one, or this for them.
    user = connection.execute(
        select(users.c.suspended, users.c.deleted_at)
        .where(users.c.id == key.user_id)
        .with_for_update()
    ).first()
    revoked = connection.execute(select(tokens.c.revoked_at).where(tokens.c.id == token_id)).first()
    ended = user is None or user.suspended or user.deleted_at is not None
    if ended or revoked is None or revoked.revoked_at is not None:
        return Added.NOT_ALLOWED
    connection.execute(
        delete(user_keys).where(
            user_keys.c.user_id == key.user_id, user_keys.c.expires_at <= key.created_at
        )
    )
    kept = list_user_keys(connection, key.user_id)
    if any((k.public_key, k.workspace_id) == (key.public_key, key.workspace_id) for k in kept):
        return Added.EXISTS
    if len(kept) >= most:
        return Added.TOO_MANY
    connection.execute(
        insert(user_keys).values(
            id=key.id,
            user_id=key.user_id,
            workspace_id=key.workspace_id,
            name=key.name,
            public_key=key.public_key,
            fingerprint=key.fingerprint,
            created_at=key.created_at,
            expires_at=key.expires_at,
        )
    )
    return Added.ADDED


def list_user_keys(connection: Connection, user_id: str) -> list[RegisteredKey]:
    """A user's keys, also expired ones, the newest first."""
    rows = connection.execute(
        _KEYS.where(user_keys.c.user_id == user_id, _IN_USE).order_by(
            user_keys.c.created_at.desc(), user_keys.c.id
        )
    )
    return [RegisteredKey(**row._asdict()) for row in rows]


def user_key_by_id(connection: Connection, key_id: str) -> RegisteredKey | None:
    """The key of that id."""
    row = connection.execute(_KEYS.where(user_keys.c.id == key_id)).first()
    return None if row is None else RegisteredKey(**row._asdict())


def remove_user_key(connection: Connection, key_id: str) -> None:
    """Delete a key."""
    connection.execute(delete(user_keys).where(user_keys.c.id == key_id))


def end_user_keys(connection: Connection, user_id: str) -> None:
    """Delete all keys of a user."""
    connection.execute(delete(user_keys).where(user_keys.c.user_id == user_id))


def keys_of_agent(connection: Connection, agent_id: str, now: datetime) -> list[RegisteredKey]:
    """The keys that an agent may let in at `now`: those of the owner of its workspace."""
    rows = connection.execute(
        select(user_keys, workspaces.c.name.label("workspace"))
        .select_from(
            agents.join(workspaces, workspaces.c.id == agents.c.workspace_id)
            .join(users, users.c.id == workspaces.c.owner_id)
            .join(
                user_keys,
                and_(
                    user_keys.c.user_id == users.c.id,
                    or_(
                        user_keys.c.workspace_id.is_(None),
                        user_keys.c.workspace_id == workspaces.c.id,
                    ),
                ),
            )
        )
        .where(
            agents.c.id == agent_id,
            agents.c.revoked_at.is_(None),
            workspaces.c.deleted_at.is_(None),
            users.c.deleted_at.is_(None),
            users.c.suspended.is_(False),
            user_keys.c.expires_at > now,
        )
        .order_by(user_keys.c.created_at, user_keys.c.id)
    )
    return [RegisteredKey(**row._asdict()) for row in rows]


def key_holders(connection: Connection, user_id: str) -> list[KeyHolder]:
    """The agents of a user's workspaces."""
    rows = connection.execute(
        select(
            agents.c.id.label("agent_id"),
            workspaces.c.name.label("workspace"),
            agents.c.last_seen_at,
        )
        .select_from(agents.join(workspaces, workspaces.c.id == agents.c.workspace_id))
        .where(workspaces.c.owner_id == user_id, agents.c.revoked_at.is_(None))
        .order_by(workspaces.c.name)
    )
    return [KeyHolder(**row._asdict()) for row in rows]


def mark_key_used(connection: Connection, key_id: str, now: datetime) -> RegisteredKey | None:
    """Remember when a key was last used; None where it has gone."""
    connection.execute(update(user_keys).where(user_keys.c.id == key_id).values(last_used_at=now))
    return user_key_by_id(connection, key_id)
