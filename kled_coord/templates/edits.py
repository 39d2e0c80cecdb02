"""The changes of a template that are allowed. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from kled_coord.templates.deadlines import UNCHANGED, Deadlines


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateEdit:
    """A change; None leaves something as it is.

    A version is a number or a name, or "previous", the one before the active one.
    """

    display_name: str | None = None
    description: str | None = None
    icon: str | None = None
    active_version: int | str | None = None
    deadlines: Deadlines = UNCHANGED
    stop_after_s: int | Literal["never"] | None = None
    usable_by: str | None = None

    def columns(self) -> dict[str, Any]:
        """What is to be written, by column, but for the version, whose id it does not know."""
        values = {
            "display_name": self.display_name,
            "description": self.description,
            "icon": self.icon,
            "stop_after_s": self.stop_after_s,
            "usable_by": self.usable_by,
        }
        wanted: dict[str, Any] = {name: v for name, v in values.items() if v is not None}
        if self.stop_after_s == "never":
            wanted["stop_after_s"] = None
        return {**wanted, **self.deadlines.columns()}
