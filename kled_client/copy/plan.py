"""The source and target of `kled cp`: a local path, or `WORKSPACE:path`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from kled_wire.errors import InputError
from kled_wire.names import WorkspaceRef, parse_workspace_ref

# What useradd(8) takes.
_USERS_HOME = re.compile(r"~([a-z_][a-z0-9_-]{0,31})(?:/.*)?", re.DOTALL)
_LOOKS_REMOTE = re.compile(r"([a-z0-9_./-]+):(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyPlace:
    """`workspace` None: the path is on this machine. A remote path is relative to the home.

    A name that begins with `~` is written `./~`.
    """

    path: str
    workspace: WorkspaceRef | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyPlan:
    """Which workspace, in which direction, and the paths on each side."""

    workspace: WorkspaceRef
    upload: bool
    sources: tuple[str, ...]
    target: str

    def far_user(self, path: str) -> str | None:
        """Whose home directory there a remote path begins with; None: it does not."""
        match = _USERS_HOME.fullmatch(path)
        return match[1] if match else None


def parse_place(text: str) -> CopyPlace:
    """`./a:b` and `/a:b` are local, as in scp(1). Raises InputError."""
    if not text or "\0" in text:
        raise InputError("path_invalid", "a path is missing", hint="kled cp SRC… DST")
    match = _LOOKS_REMOTE.fullmatch(text)
    if match is None or text.startswith(("/", ".")):
        return CopyPlace(path=text)
    path = match[2]
    if path == "~" or path.startswith("~/"):
        # Where remote paths begin anyway.
        path = path[1:].lstrip("/")
    return CopyPlace(workspace=parse_workspace_ref(match[1]), path=path or ".")


def plan_copy(words: tuple[str, ...]) -> CopyPlan:
    """Raises InputError when not exactly one side is a workspace."""
    if len(words) < 2:
        raise InputError("usage", "kled cp needs a source and a target", hint="kled cp SRC… DST")
    *sources, target = map(parse_place, words)
    workspaces = {place.workspace for place in sources}
    if len(workspaces) != 1:
        raise InputError("copy_mixed", "the sources must all be on the same side")
    source = workspaces.pop()
    if (source is None) == (target.workspace is None):
        what = "both sides are on this machine" if source is None else "both sides are workspaces"
        raise InputError("copy_sides", what, hint="write WORKSPACE:path for one of the two sides")
    workspace = source or target.workspace
    assert workspace is not None
    return CopyPlan(
        workspace=workspace,
        upload=source is None,
        sources=tuple(place.path for place in sources),
        target=target.path,
    )
