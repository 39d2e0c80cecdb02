"""Queries: whether a credential is still valid, and writes that depend on it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection, select

from kled_coord.store.records import Grant, User
from kled_coord.store.schema import tokens, users
from kled_coord.store.users import hold_user
from kled_wire.errors import ForbiddenError, UnauthenticatedError

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """Users who may come in, each with their `endings`; tokens that were not revoked, and whose."""

    users: Mapping[str, int]
    tokens: Mapping[str, str]

    def holds(self, grant: Grant) -> bool:
        """Whether it still does. A token that expired holds: it opens nothing new, that is all."""
        return (
            self.users.get(grant.user_id) == grant.endings
            and self.tokens.get(grant.token_id) == grant.user_id
        )


def holding(
    connection: Connection, user_ids: Collection[str], token_ids: Collection[str]
) -> Holding:
    """What holds now of some users and tokens."""
    found = connection.execute(
        select(users.c.id, users.c.endings).where(
            users.c.id.in_(user_ids), users.c.deleted_at.is_(None), users.c.suspended.is_(False)
        )
    )
    valid = connection.execute(
        select(tokens.c.id, tokens.c.user_id).where(
            tokens.c.id.in_(token_ids), tokens.c.revoked_at.is_(None)
        )
    )
    return Holding(
        users={row.id: row.endings for row in found}, tokens={row.id: row.user_id for row in valid}
    )


def as_caller(
    connection: Connection,
    grant: Grant,
    role: str,
    query: Callable[Concatenate[Connection, P], T],
    /,
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    """Run `query`, a write that somebody may do who was let in with `grant` and has that role.

    Whether they still may is looked at here, and stays so to the end of the transaction.
    Raises what `check_standing` does.
    """
    check_standing(connection, hold_user(connection, grant.user_id), grant, role)
    return query(connection, *args, **kwargs)


def check_standing(connection: Connection, user: User | None, grant: Grant, role: str) -> None:
    """Check that a held user has that role, and was not only until now let in with `grant`.

    Raises UnauthenticatedError("token_revoked"), ForbiddenError("role_changed").
    """
    if user is None or not holding(connection, [user.id], [grant.token_id]).holds(grant):
        raise UnauthenticatedError(
            "token_revoked", "your access has ended", hint="log in again: kled login"
        )
    if user.role != role:
        raise ForbiddenError("role_changed", f"your role is {user.role} now", hint="try again")
