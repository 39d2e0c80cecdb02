"""Decides when a session ends before its shell, and the size of its terminal. No I/O."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

SizePolicy = Literal["latest", "smallest"]
SIZE_POLICIES: Final = ("latest", "smallest")


class Lifetime:
    """Decides when a session was unused or without an agent for too long. In monotonic seconds."""

    def __init__(self, *, idle_s: float, orphan_s: float, now: float) -> None:
        """Zero switches a limit off."""
        self._idle_s = idle_s
        self._orphan_s = orphan_s
        self._used_at = now
        self._agent_at = now

    def used(self, now: float) -> None:
        """Somebody is attached, or the terminal wrote something."""
        self._used_at = now

    def agent_seen(self, now: float) -> None:
        """An agent is there."""
        self._agent_at = now

    def over(self, now: float) -> str:
        """Why the session has to end now, or nothing."""
        if self._idle_s and now - self._used_at >= self._idle_s:
            return f"nobody was attached and nothing was written for {self._idle_s:g} s"
        if self._orphan_s and now - self._agent_at >= self._orphan_s:
            return f"there was no agent for {self._orphan_s:g} s"
        return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Viewer:
    """An attached client's terminal. `active` grows with each thing the client does."""

    columns: int
    rows: int
    read_only: bool
    active: int


def decide_size(viewers: Iterable[Viewer], policy: SizePolicy) -> tuple[int, int] | None:
    """Columns and rows; None leaves the size as it is. Watchers and unknown sizes do not count."""
    counted = [v for v in viewers if not v.read_only and v.columns > 0 and v.rows > 0]
    if not counted:
        return None
    if policy == "smallest":
        return min(v.columns for v in counted), min(v.rows for v in counted)
    last = max(counted, key=lambda v: v.active)
    return last.columns, last.rows
