"""What waits for transfers: changes of their paths, and of directories around these. No I/O."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet

from kled_sync.decide.reconcile import PathChange
from kled_sync.tree.paths import ROOT, split


class UnderWay:
    """Paths of running transfers, and the changes that wait for them."""

    def __init__(self, in_flight: AbstractSet[bytes]) -> None:
        """`in_flight`: the paths of transfers; whoever carries these out changes it."""
        self._in_flight = in_flight
        # By the path that is waited for: the directories to look at when it has ended.
        self._waiting: dict[bytes, set[bytes]] = {}

    def covers(self, path: bytes) -> bool:
        """Whether `path`, or a directory that it is in, is under way."""
        return self._above(path) is not None

    def _above(self, path: bytes) -> bytes | None:
        while path not in self._in_flight:
            if path == ROOT:
                return None
            path = split(path)[0]
        return path

    def ready(self, actions: list[PathChange]) -> list[PathChange]:
        """Those of `actions` that need not wait; the others are remembered.

        A directory does not go before what is in it: its removal would fail, and nothing that
        happens to the directory itself later would say that it can be tried again.
        """
        if not self._in_flight:
            return actions
        below: dict[bytes, bytes] | None = None
        ready = []
        for action in actions:
            blocker = self._above(action.path)
            if blocker is None and _removes_directory(action):
                below = _by_directory(self._in_flight) if below is None else below
                blocker = below.get(action.path)
            if blocker is None:
                ready.append(action)
            else:
                self._waiting.setdefault(blocker, set()).add(split(action.path)[0])
        return ready

    def released(self, paths: Iterable[bytes]) -> set[bytes]:
        """The directories of changes that waited for one of `paths`; each is returned once."""
        found: set[bytes] = set()
        if self._waiting:
            for path in paths:
                found |= self._waiting.pop(path, set())
        return found


def _removes_directory(action: PathChange) -> bool:
    old, new = action.old, action.new
    return old is not None and old.is_directory and (new is None or not new.is_directory)


def _by_directory(paths: Iterable[bytes]) -> dict[bytes, bytes]:
    """All directories above `paths`, each with one of these below it."""
    found: dict[bytes, bytes] = {}
    for path in paths:
        above = path
        while above != ROOT:
            above = split(above)[0]
            if above in found:
                break
            found[above] = path
    return found
