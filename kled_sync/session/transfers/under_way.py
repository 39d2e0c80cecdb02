"""What waits for transfers: changes of their paths, and of directories around these. No I/O."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet

from kled_sync.decide.reconcile import PathChange
from kled_sync.tree.paths import ROOT, split


class UnderWay:
    """Paths of running transfers, and those of changes that wait for them."""

    def __init__(self, in_flight: AbstractSet[bytes]) -> None:
        """`in_flight`: the paths of transfers; whoever carries these out changes it."""
        self._in_flight = in_flight
        self._waiting: set[bytes] = set()

    def covers(self, path: bytes) -> bool:
        """Whether `path`, or a directory that it is in, is under way."""
        while path not in self._in_flight:
            if path == ROOT:
                return False
            path = split(path)[0]
        return True

    def ready(self, actions: list[PathChange]) -> list[PathChange]:
        """Those of `actions` that need not wait; the others are remembered.

        A directory does not go before what is in it: its removal would fail, and nothing that
        happens to the directory itself later would say that it can be tried again.
        """
        if not self._in_flight:
            return actions
        above: set[bytes] | None = None
        ready = []
        for action in actions:
            waits = self.covers(action.path)
            if not waits and _removes_directory(action):
                above = _directories_of(self._in_flight) if above is None else above
                waits = action.path in above
            if waits:
                self._waiting.add(action.path)
            else:
                ready.append(action)
        return ready

    def released(self) -> set[bytes]:
        """The directories of changes that waited and may go on; each is returned once.

        A removal of a directory goes on with what is in it, which is looked at together.
        """
        free = {path for path in self._waiting if not self.covers(path)}
        self._waiting -= free
        return {split(path)[0] for path in free}


def _removes_directory(action: PathChange) -> bool:
    old, new = action.old, action.new
    return old is not None and old.is_directory and (new is None or not new.is_directory)


def _directories_of(paths: Iterable[bytes]) -> set[bytes]:
    """All directories above `paths`."""
    found: set[bytes] = set()
    for path in paths:
        above = path
        while above != ROOT:
            above = split(above)[0]
            if above in found:
                break
            found.add(above)
    return found
