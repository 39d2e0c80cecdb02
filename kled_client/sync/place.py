"""The two sides of a sync: a local path, WORKSPACE:path, or a path on any SSH host.

`ssh://[USER@]HOST[:PORT]/PATH` is as git has it: `/~/` begins at the home directory. So is
`USER@HOST:PATH`, where the `@` tells a host from a workspace.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urlsplit

from kled_wire.errors import InputError
from kled_wire.names import WorkspaceRef, parse_workspace_ref

_LOOKS_REMOTE = re.compile(r"([a-z0-9_./-]+):(.*)", re.DOTALL)
_AT_HOST = re.compile(r"([A-Za-z0-9._][A-Za-z0-9._-]*@[A-Za-z0-9._\[\]:-]+?):(.*)", re.DOTALL)
_HOST = re.compile(r"[A-Za-z0-9._][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncPlace:
    """A path, and where: on this machine where both others are None."""

    path: str
    workspace: WorkspaceRef | None = None
    # The arguments for ssh(1).
    ssh: tuple[str, ...] | None = None

    @property
    def is_here(self) -> bool:
        return self.workspace is None and self.ssh is None

    def __str__(self) -> str:
        if self.workspace is not None:
            return f"{self.workspace}:{self.path}"
        return f"{self.ssh[-1]}:{self.path}" if self.ssh is not None else self.path


def parse_sync_place(text: str) -> SyncPlace:
    """Raises InputError."""
    if text.startswith("ssh://"):
        return _from_url(text)
    match = _AT_HOST.fullmatch(text)
    if match is not None and not text.startswith(("/", ".")):
        return SyncPlace(path=match[2] or ".", ssh=(match[1],))
    return parse_place(text)


def parse_place(text: str) -> SyncPlace:
    """A path of this machine, or `WORKSPACE:path`, relative to the home directory there.

    `./a:b` and `/a:b` are local, as in scp(1); a name that begins with `~` is written `./~`.
    Raises InputError.
    """
    if not text or "\0" in text:
        raise InputError(
            "path_invalid", "a path is missing", hint="WORKSPACE:path, or a path of this machine"
        )
    match = _LOOKS_REMOTE.fullmatch(text)
    if match is None or text.startswith(("/", ".")):
        return SyncPlace(path=text)
    path = match[2]
    if path == "~" or path.startswith("~/"):
        # Where remote paths begin anyway.
        path = path[1:].lstrip("/")
    return SyncPlace(workspace=parse_workspace_ref(match[1]), path=path or ".")


def _from_url(text: str) -> SyncPlace:
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError as exc:
        raise _invalid(text) from exc
    host, user = url.hostname or "", url.username or ""
    if not _HOST.fullmatch(host) or (user and not _HOST.fullmatch(user)) or _has_more(url):
        raise _invalid(text)
    path = unquote(url.path)
    path = path[3:] or "." if path.startswith("/~/") else path or "."
    target = f"{user}@{host}" if user else host
    return SyncPlace(path=path, ssh=(*(("-p", str(port)) if port else ()), target))


def _has_more(url: SplitResult) -> bool:
    return bool(url.query or url.fragment or url.password)


def _invalid(text: str) -> InputError:
    return InputError(
        "path_invalid",
        f"{text[:200]!r} names no place",
        hint="WORKSPACE:path, ssh://USER@HOST/path, or a path of this machine",
    )
