"""Queries: the addresses that users have logged in from."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from kled_coord.store.schema import known_addresses as known


def mark_known_address(connection: Connection, user_id: str, address: str, now: datetime) -> None:
    """Remember that a user has logged in from there now."""
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    added = dialect.insert(known).values(user_id=user_id, address=address, seen_at=now)
    connection.execute(
        added.on_conflict_do_update(
            index_elements=[known.c.user_id, known.c.address], set_={"seen_at": now}
        )
    )


def is_known_address(connection: Connection, user_id: str, address: str, since: datetime) -> bool:
    """Whether a user has logged in from there since then."""
    found = connection.execute(
        select(known.c.user_id).where(
            known.c.user_id == user_id, known.c.address == address, known.c.seen_at > since
        )
    ).first()
    return found is not None


def prune_known_addresses(connection: Connection, before: datetime) -> None:
    """Forget addresses from which nobody has logged in since then."""
    connection.execute(delete(known).where(known.c.seen_at <= before))
