"""A list to choose from by the arrow keys: what keys do to it, and how it looks. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Final

# More entries than these are scrolled through.
SHOWN_MAX: Final = 10
# The bytes that terminals send for a key (xterm's control sequences), in both modes of the cursor
# keys.
_KEY: Final = re.compile(rb"\x1b(?:\[|O)[0-9;]*[A-Za-z~]|.", re.DOTALL)
_UP: Final = frozenset({b"\x1b[A", b"\x1bOA", b"\x10", b"k"})
_DOWN: Final = frozenset({b"\x1b[B", b"\x1bOB", b"\x0e", b"j", b"\t"})
_ENTER: Final = frozenset({b"\r", b"\n"})
_LEAVE: Final = frozenset({b"\x03", b"\x04"})


class Pressed(Enum):
    """What a key has come to."""

    MOVED = auto()
    CHOSEN = auto()
    LEFT = auto()


@dataclass(frozen=True, slots=True)
class MenuLine:
    """One line: its title, and a word about it."""

    title: str
    about: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Menu:
    """Entries, the one under the cursor, and where `several` may be chosen, those that are."""

    entries: Sequence[MenuLine]
    at: int = 0
    several: bool = False
    marked: frozenset[int] = frozenset()

    def press(self, key: bytes) -> tuple[Menu, Pressed]:
        """Press one key; those that mean nothing here change nothing."""
        count = len(self.entries)
        if key in _ENTER:
            return self, Pressed.CHOSEN
        if key in _LEAVE:
            return self, Pressed.LEFT
        if key in _UP:
            return replace(self, at=(self.at - 1) % count), Pressed.MOVED
        if key in _DOWN:
            return replace(self, at=(self.at + 1) % count), Pressed.MOVED
        if key == b" " and self.several:
            return replace(self, marked=self.marked ^ {self.at}), Pressed.MOVED
        return self, Pressed.MOVED

    def lines(self, columns: int) -> list[str]:
        """How it looks, each line short enough for a terminal of so many columns."""
        first = max(0, min(self.at - SHOWN_MAX // 2, len(self.entries) - SHOWN_MAX))
        shown = range(first, min(first + SHOWN_MAX, len(self.entries)))
        lines = [self._line(number)[: max(1, columns - 1)] for number in shown]
        if len(self.entries) > SHOWN_MAX:
            lines.append(f"  {self.at + 1} of {len(self.entries)}"[: max(1, columns - 1)])
        return lines

    def _line(self, number: int) -> str:
        entry = self.entries[number]
        cursor = ">" if number == self.at else " "
        box = ("[x] " if number in self.marked else "[ ] ") if self.several else ""
        return f"{cursor} {box}{entry.title}" + (f" - {entry.about}" if entry.about else "")


def split_keys(data: bytes) -> list[bytes]:
    """The keys in what was read from a terminal: one read may bring several."""
    return _KEY.findall(data)
