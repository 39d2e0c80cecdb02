"""The deadlines of a template: of its check, and of its builds without progress. Pure."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """A change, in seconds: None leaves one as it is, "default" is what the setting says.

    A `build_quiet_s` of 0 is any time.
    """

    check_deadline_s: int | Literal["default"] | None = None
    build_quiet_s: int | Literal["default"] | None = None

    def columns(self) -> dict[str, int | None]:
        """What is to be written, by column; NULL where the setting counts."""
        wanted = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            name: None if value == "default" else value
            for name, value in wanted.items()
            if value is not None
        }


UNCHANGED: Final = Deadlines()
