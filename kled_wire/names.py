"""The grammar of names: workspaces, users, templates, and how a person refers to a workspace.

A name is a DNS label (RFC 1123, section 2.1) of at most 32 characters, because it becomes part of
an SSH host name: `WS.kled` is the caller's own workspace, `WS.OWNER.kled` somebody's. Of several
agents in a workspace `AGENT--WS` names one; an old workspace of exactly that name comes first.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, NewType

from kled_wire.errors import InputError

UserId = NewType("UserId", str)
WorkspaceId = NewType("WorkspaceId", str)
AgentId = NewType("AgentId", str)
BuildId = NewType("BuildId", str)

NAME_MAX: Final = 32
SSH_SUFFIX: Final = "kled"
AGENT_MARK: Final = "--"
VERSION_MAX: Final = 2**31 - 1
VERSION_NAME_MAX: Final = 40
# Stands for a version where one is made active.
PREVIOUS: Final = "previous"
_VERSION_NAME: Final = re.compile(r"(?!\d+\Z)[A-Za-z0-9][A-Za-z0-9._+-]{0,39}")
_LABEL: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?")
_WORKSPACE_ID: Final = re.compile(r"ws_[0-9a-z]{8,40}")


def check_name(kind: str, name: str) -> str:
    """Return `name` when it is legal for a `kind` ("workspace", "user", "template").

    Raises InputError("name_invalid").
    """
    if _LABEL.fullmatch(name) is None or name == SSH_SUFFIX:
        raise InputError(
            "name_invalid",
            f"{name!r} is not a {kind} name",
            hint=f"use 1 to {NAME_MAX} of a-z, 0-9 and -, beginning and ending with a letter or "
            "digit",
        )
    return name


def parse_version(text: str) -> int | str:
    """How somebody named a version of a template: by its number, or by the name it was given.

    Raises InputError("version_malformed").
    """
    if text.isascii() and text.isdecimal() and 0 < int(text) <= VERSION_MAX:
        return int(text)
    return check_version_name(text)


def check_version_name(name: str) -> str:
    """Return `name` when a version may be called so. Raises InputError("version_malformed")."""
    if _VERSION_NAME.fullmatch(name) is None or name == PREVIOUS:
        raise InputError(
            "version_malformed",
            f"{name[:VERSION_NAME_MAX]!r} is neither a version's number nor its name",
            hint=f"a name is 1 to {VERSION_NAME_MAX} letters, digits and . _ + -, and no number",
        )
    return name


def check_new_workspace_name(name: str) -> str:
    """Return `name` when a new workspace may have it. Raises InputError("name_invalid")."""
    if AGENT_MARK in name:
        raise InputError(
            "name_invalid",
            f"{name!r} is not a name for a new workspace",
            hint=f"{AGENT_MARK} stands between an agent and its workspace: main{AGENT_MARK}dev",
        )
    return check_name("workspace", name)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkspaceRef:
    """How somebody named a workspace: by id, or by name with an optional owner.

    `name` may also be AGENT--WS: which it is only the coordinator can tell (`readings`).
    """

    name: str | None = None
    owner: str | None = None
    id: WorkspaceId | None = None

    def __str__(self) -> str:
        """The form used in API paths: `ws_…`, `name` or `name.owner`."""
        if self.id is not None:
            return self.id
        return f"{self.name}.{self.owner}" if self.owner else f"{self.name}"

    def readings(self) -> list[tuple[str, str | None]]:
        """What the name may mean, the first first: a workspace, and its agent or None."""
        name = self.name or ""
        marks = [at for at in range(len(name)) if name.startswith(AGENT_MARK, at)]
        split = [(name[at + len(AGENT_MARK) :], name[:at]) for at in marks]
        both = [
            (ws, agent) for ws, agent in split if _LABEL.fullmatch(ws) and _LABEL.fullmatch(agent)
        ]
        return [(name, None), *both]


def parse_workspace_ref(text: str) -> WorkspaceRef:
    """Read `dev`, `alice/dev`, `dev.alice`, `dev.kled`, `dev.alice.kled` or `ws_…`.

    Instead of `dev` there may be `AGENT--dev`.

    Raises InputError("name_invalid").
    """
    if _WORKSPACE_ID.fullmatch(text):
        return WorkspaceRef(id=WorkspaceId(text))
    if "/" in text:
        user, _, name = text.partition("/")
        return WorkspaceRef(name=_check_place(name), owner=check_name("user", user))
    labels = text.removesuffix(f".{SSH_SUFFIX}").split(".")
    if len(labels) > 2:
        raise InputError(
            "name_invalid", f"{text!r} does not name a workspace", hint="use NAME or OWNER/NAME"
        )
    name = _check_place(labels[0])
    owner = check_name("user", labels[1]) if len(labels) == 2 else None
    return WorkspaceRef(name=name, owner=owner)


def _check_place(text: str) -> str:
    """WS or AGENT--WS."""
    if len(WorkspaceRef(name=text).readings()) > 1:
        return text
    return check_name("workspace", text)


def ssh_names(workspace: str, owner: str, agent: str) -> tuple[str, ...]:
    """The host names under which an agent's SSH server is known.

    The workspace's own are among them: which agent they mean is decided for each stream.
    """
    places = workspace, f"{agent}{AGENT_MARK}{workspace}"
    return tuple(
        name
        for place in places
        for name in (f"{place}.{SSH_SUFFIX}", f"{place}.{owner}.{SSH_SUFFIX}")
    )


def user_principal(user_id: str) -> str:
    """The SSH certificate principal that stands for a user."""
    return f"user:{user_id}"
