"""The SSH server's credentials, and the authorities that it trusts. Plain values, no asyncssh."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import trio

from kled_agent.machine.orphans import Children
from kled_agent.machine.users import LocalUser
from kled_agent.sessions.directory import SessionDirectory


@dataclass(frozen=True, slots=True, kw_only=True)
class SshIdentity:
    """OpenSSH text forms. `principals` are those whose certificates may log in."""

    host_key: str
    host_certificate: str
    user_ca: str
    principals: tuple[str, ...]


class LoginGate(Protocol):
    """What the template says of logins (kled_agent/scripts/service.py).

    What a session has to wait for that asks to, and what a terminal shows first.
    """

    def motd_file(self) -> str:
        """The file that each new terminal shows; "" is none."""
        ...

    def waits_for(self) -> tuple[str, ...]:
        """The names of what has not ended yet."""
        ...

    def failed(self) -> tuple[str, ...]:
        """What did not succeed, each with how."""
        ...

    def next_news(self) -> trio.Event:
        """Set when that may have changed."""
        ...


class OpenGate:
    """A gate that lets every session in at once."""

    def motd_file(self) -> str:
        """None."""
        return ""

    def waits_for(self) -> tuple[str, ...]:
        """Nothing."""
        return ()

    def failed(self) -> tuple[str, ...]:
        """Nothing."""
        return ()

    def next_news(self) -> trio.Event:
        """Never set."""
        return trio.Event()


@dataclass(slots=True, kw_only=True)
class SessionDefaults:
    """What every session gets: the user it runs as and variables that say where it is.

    The template may change `user` while we run; the next session gets that of then.

    `logins` says what those wait for that ask to. `children` is told of each program that a
    session starts; `named` keeps the named ones.
    """

    user: LocalUser
    environment: dict[str, str]
    children: Children
    named: SessionDirectory | None = None
    logins: LoginGate = field(default_factory=OpenGate)
