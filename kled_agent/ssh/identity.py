"""What the SSH server proves itself with, and whom it believes. Plain values, no asyncssh."""

from __future__ import annotations

from dataclasses import dataclass

from kled_agent.orphans import Children
from kled_agent.sessions.directory import SessionDirectory
from kled_agent.users import LocalUser


@dataclass(frozen=True, slots=True, kw_only=True)
class SshIdentity:
    """OpenSSH text forms. `principals` are those whose certificates may log in."""

    host_key: str
    host_certificate: str
    user_ca: str
    principals: tuple[str, ...]


@dataclass(slots=True, kw_only=True)
class SessionDefaults:
    """What every session gets: the user it runs as and variables that say where it is.

    The template may change `user` while we run; the next session gets that of then.

    `children` is told of each program that a session starts; `named` keeps the named ones.
    """

    user: LocalUser
    environment: dict[str, str]
    children: Children
    named: SessionDirectory | None = None
