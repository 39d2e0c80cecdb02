"""Transactions on users: all changes of a decision on locked rows, or none.

What to do is decided by a function that the caller passes. It sees who asks, who is changed and how
many owners there are as they are in the transaction: two owners who demote each other, or a user
who is deleted while making a workspace, come one after the other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Connection

from kled_coord.store.records import Grant, User
from kled_coord.store.standing import check_standing
from kled_coord.store.tokens import revoke_user_tokens
from kled_coord.store.user_keys import end_user_keys
from kled_coord.store.users import (
    count_owned_workspaces,
    drop_login_codes,
    hold_users,
    mark_user_deleted,
    update_user,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldUsers:
    """Who is changed (None: nobody there), with how many workspaces; owners who may come in."""

    user: User | None
    owners: int
    workspaces: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UserEdit:
    """What is to be written. `ended`: nothing that was opened for the user holds any more.

    `revoke_tokens`: all of their tokens but `keep_token`, and their one-time codes and keys.
    """

    user: User
    revoke_tokens: bool = False
    keep_token: str = ""
    ended: bool = False
    deleted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EditedUser:
    """A user after a change; whether all access ended, or their keys, and the tokens revoked."""

    user: User
    ended: bool
    keys_ended: bool
    revoked_tokens: frozenset[str] = frozenset()


Decide = Callable[[HeldUsers], UserEdit]


def edit_user(
    connection: Connection, grant: Grant, role: str, name: str, decide: Decide, now: datetime
) -> EditedUser:
    """Change the user of that name as `decide` says; what it raises changes nothing.

    Asked by somebody with that grant and role, see `check_standing`.
    """
    held = hold_users(connection, grant.user_id, name)
    asking = next((user for user in held if user.id == grant.user_id), None)
    check_standing(connection, asking, grant, role)
    user = next((user for user in held if user.name == name), None)
    edit = decide(
        HeldUsers(
            user=user,
            owners=sum(user.role == "owner" and not user.suspended for user in held),
            workspaces=0 if user is None else count_owned_workspaces(connection, user.id),
        )
    )
    return _write(connection, edit, now)


def _write(connection: Connection, edit: UserEdit, now: datetime) -> EditedUser:
    user = edit.user
    if edit.ended:
        user = replace(user, endings=user.endings + 1)
    update_user(connection, user)
    revoked: frozenset[str] = frozenset()
    if edit.revoke_tokens:
        revoked = revoke_user_tokens(connection, user.id, now, edit.keep_token)
    keys_end = edit.revoke_tokens or user.suspended
    if keys_end:
        drop_login_codes(connection, user.id)
        end_user_keys(connection, user.id)
    if edit.deleted:
        mark_user_deleted(connection, user.id, now)
    return EditedUser(user=user, ended=edit.ended, keys_ended=keys_end, revoked_tokens=revoked)
