"""The JSON answers of routes about users and what is theirs, as docs/protocol.md specifies them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from pydantic import BaseModel

from kled_coord.api.answers import fields_of
from kled_coord.identity.service import NewToken
from kled_coord.store.records import RegisteredKey, Token, User


class UserAnswer(BaseModel):
    """A user; `login_code` only where one was just made."""

    id: str
    name: str
    email: str | None
    role: str
    suspended: bool
    created_at: datetime
    last_seen_at: datetime | None
    password_set_at: datetime | None
    password_set_by: str | None
    code_used_at: datetime | None
    max_workspaces: int | None
    max_waiting_builds: int | None
    login_code: str | None = None

    @classmethod
    def of(cls, user: User, login_code: str | None = None) -> UserAnswer:
        """Make one from a record."""
        return cls.model_validate({**fields_of(user), "login_code": login_code})


class LoginAnswer(BaseModel):
    """A token that was just made by logging in."""

    token: str
    token_id: str
    expires_at: datetime | None
    user: UserAnswer

    @classmethod
    def of(cls, user: User, new: NewToken) -> LoginAnswer:
        """Make one from a login."""
        return cls(
            token=new.secret,
            token_id=new.token.id,
            expires_at=new.token.expires_at,
            user=UserAnswer.of(user),
        )


class TokenAnswer(BaseModel):
    """A token; `token`, its secret, only where it was just made."""

    id: str
    name: str
    scopes: tuple[str, ...]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None
    token: str | None = None

    @classmethod
    def of(cls, token: Token, secret: str | None = None) -> TokenAnswer:
        """Make one from a record."""
        return cls.model_validate({**fields_of(token), "token": secret})


class KeyAnswer(BaseModel):
    """A registered key; `workspace` null: all of the user's. Of a change: who does not know yet."""

    id: str
    name: str
    public_key: str
    fingerprint: str
    workspace: str | None
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime | None
    unanswered: list[str] | None = None

    @classmethod
    def of(cls, key: RegisteredKey, unanswered: Sequence[str] | None = None) -> KeyAnswer:
        """Make one from a record."""
        told = None if unanswered is None else list(unanswered)
        return cls.model_validate({**fields_of(key), "unanswered": told})


class CertificateAnswer(BaseModel):
    """A signed SSH user certificate."""

    certificate: str
    ca_public_key: str
    valid_until: datetime
    principals: tuple[str, ...]
