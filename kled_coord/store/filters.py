"""What lists are narrowed down to. A field that is None, or empty, leaves everything in."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from kled_wire.names import WorkspaceRef


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkspaceSearch:
    """Which workspaces somebody looks for: of each that is not empty one must fit, of `words` all.

    A word is a part of the name, the owner's or the template's. `outdated`: whether the template
    has another version by now.
    """

    words: tuple[str, ...] = ()
    owners: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    templates: tuple[str, ...] = ()
    statuses: tuple[str, ...] = ()
    outdated: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFilter:
    """Which rows of the audit log: `action` is how it begins, `resource` a part of it.

    From `since` on, and before `until`.
    """

    user: str | None = None
    action: str | None = None
    resource: str | None = None
    allowed: bool | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionFilter:
    """Which streams: names of now, those opened from `since` on and before `until`.

    `workspace` without an owner is every one of that name. `user_id` is whose streams alone the
    caller may see.
    """

    user_id: str | None = None
    user: str | None = None
    workspace: WorkspaceRef | None = None
    kind: str | None = None
    open: bool | None = None
    since: datetime | None = None
    until: datetime | None = None
