"""The changes of a template that are allowed. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from kled_coord.templates.deadlines import UNCHANGED, Deadlines


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateEdit:
    """A change; None leaves something as it is. "previous" is the version before the active one."""

    display_name: str | None = None
    description: str | None = None
    icon: str | None = None
    active_version: int | Literal["previous"] | None = None
    deadlines: Deadlines = UNCHANGED

    def columns(self) -> dict[str, Any]:
        """What is to be written, by column, but for the version, whose id it does not know."""
        texts = {
            "display_name": self.display_name,
            "description": self.description,
            "icon": self.icon,
        }
        wanted = {name: value for name, value in texts.items() if value is not None}
        return {**wanted, **self.deadlines.columns()}
