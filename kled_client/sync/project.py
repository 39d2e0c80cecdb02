"""The folders that a project's `.kled.toml` keeps the same with its workspace."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from kled_client.sync.rules import rules_of
from kled_client.sync.sessions import SyncSession, check_session, default_name
from kled_wire.errors import ConfigError

if TYPE_CHECKING:
    from kled_client.forward.project import Project, ProjectSync


def session_of(
    project: Project, sync: ProjectSync, path: Path, profile: str | None, taken: list[SyncSession]
) -> SyncSession:
    """What `kled up` keeps going for one `[[sync]]` of the file at `path`; found again by that.

    Raises ConfigError("project_invalid") for a folder outside of the project.
    """
    top = path.parent.resolve()
    local = (top / sync.local).resolve()
    if local != top and top not in local.parents:
        raise ConfigError(
            "project_invalid",
            f"{path}: `sync.local` {sync.local!r} leads out of the project",
            hint="docs/cli.md, Projects",
        )
    session = SyncSession(
        name="x",
        alpha=f"{local}",
        beta=f"{project.workspace}:{sync.remote}",
        mode=sync.mode,
        permissions=sync.permissions,
        xattrs=sync.xattrs,
        ignore=rules_of(sync.ignore, sync.preset, vcs=False).decode("utf-8", "surrogateescape"),
        profile=profile,
        project=f"{path}#{sync.remote}",
    )
    known = [found for found in taken if found.project == session.project]
    if known:
        name = known[0].name
    else:
        name = default_name(*session.places(), [found.name for found in taken])
    return check_session(replace(session, name=name))


def same(one: SyncSession, other: SyncSession) -> bool:
    """Whether both say the same, paused or not, whenever they began."""
    wishes = [asdict(replace(session, paused=False, began_s=0.0)) for session in (one, other)]
    return wishes[0] == wishes[1]
