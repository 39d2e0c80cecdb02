"""Units that scripts wait for by name, as in `coder exp sync`. Pure.

A unit may start when all units that it wants have completed. A wanted unit that has not started yet
blocks it, because it may still start.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

PENDING, STARTED, COMPLETED = "pending", "started", "completed"


class Units:
    """All units of one agent; `to_plain` is what JSON holds, and back."""

    def __init__(self, plain: Mapping[str, Any] | None = None) -> None:
        self._wants: dict[str, set[str]] = {}
        self._states: dict[str, str] = {}
        for name, unit in (plain or {}).items():
            self._wants[name], self._states[name] = set(unit["wants"]), unit["state"]

    def to_plain(self) -> dict[str, Any]:
        """The same as dicts, lists and strings."""
        return {
            name: {"wants": sorted(wants), "state": self._states[name]}
            for name, wants in self._wants.items()
        }

    def want(self, name: str, others: Iterable[str]) -> None:
        """`name` starts after these. Raises ValueError for a circle, and once it has started."""
        if self.state(name) != PENDING:
            raise ValueError(f"{name} has {self.state(name)} already")
        for other in others:
            if other == name or name in self._all_wanted(other):
                raise ValueError(f"{name} and {other} would wait for each other")
            self._known(name).add(other)
            self._known(other)

    def waits_for(self, name: str) -> list[str]:
        """What of that has not completed."""
        wanted = self._wants.get(name, set())
        return sorted(each for each in wanted if self.state(each) != COMPLETED)

    def start(self, name: str) -> None:
        """Note that it has started; the caller has checked that it waits for nothing."""
        self._known(name)
        self._states[name] = STARTED

    def complete(self, name: str) -> None:
        """Note that it has completed. Raises ValueError where it never started."""
        if self.state(name) == PENDING:
            raise ValueError(f"{name} has not started")
        self._states[name] = COMPLETED

    def state(self, name: str) -> str:
        """pending, started or completed."""
        return self._states.get(name, PENDING)

    def _known(self, name: str) -> set[str]:
        self._states.setdefault(name, PENDING)
        return self._wants.setdefault(name, set())

    def _all_wanted(self, name: str) -> set[str]:
        found: set[str] = set()
        todo = [name]
        while todo:
            for other in self._wants.get(todo.pop(), set()) - found:
                found.add(other)
                todo.append(other)
        return found
