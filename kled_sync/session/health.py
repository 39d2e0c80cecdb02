"""What a continuous sync could not do, and why; when it is tried again. No I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from kled_sync.decide.modes import SyncSide
from kled_sync.decide.reconcile import PathChange
from kled_sync.session.transfers.transfer import AGAIN, Failure
from kled_sync.tree.paths import split

# What changes while it is copied or deleted is tried again so often, then with the next change.
_TRIES_MAX: Final = 5
_NOT_KEPT_MAX: Final = 1000
# What was done knowing less than there was: by the next look it is known.
_RETRIED: Final = AGAIN | {"changed", "not_empty"}


@dataclass(slots=True, kw_only=True)
class Health:
    """The state of a sync, for `status`."""

    conflicts: dict[bytes, str] = field(default_factory=dict)
    problems: dict[bytes, str] = field(default_factory=dict)
    # What was replaced or deleted, and cannot be brought back; until it is replaced again.
    not_kept: dict[bytes, str] = field(default_factory=dict)
    # The paths of problems for which the two sides differ.
    lacking: set[bytes] = field(default_factory=set)
    # Why a path has other attributes on the two sides, and whether that is a conflict.
    attributes: dict[bytes, tuple[str, bool]] = field(default_factory=dict)
    changes: int = 0
    phase: str = "looking"

    def all_conflicts(self) -> dict[bytes, str]:
        """All conflicts, those of attributes too: the reason by path."""
        own = {path: words for path, (words, conflict) in self.attributes.items() if conflict}
        return own | self.conflicts

    def all_problems(self) -> dict[bytes, str]:
        """All problems, those of attributes too: the reason by path."""
        own = {path: words for path, (words, conflict) in self.attributes.items() if not conflict}
        return self.not_kept | own | self.problems

    def all_lacking(self) -> set[bytes]:
        """What is not the same on both sides, and no conflict."""
        return self.lacking | {p for p, (_, conflict) in self.attributes.items() if not conflict}

    def lack(self, path: bytes, reason: str) -> None:
        """Say why `path` is not on the other side."""
        self.problems[path] = reason
        self.lacking.add(path)

    def lose(self, path: bytes) -> None:
        """Say that the old version of `path` is not kept; of so many paths alone."""
        if len(self.not_kept) < _NOT_KEPT_MAX:
            self.not_kept[path] = "its old version was too large to be kept"

    def have(self, path: bytes) -> None:
        """It is now."""
        self.lacking.discard(path)
        self.problems.pop(path, None)
        self.not_kept.pop(path, None)


class FailedActions:
    """Each with its reason, until it is done, something else is to be done, or `retry`."""

    def __init__(self) -> None:
        self._failed: dict[tuple[SyncSide, bytes], Failure] = {}
        self._tries: dict[tuple[SyncSide, bytes], int] = {}

    def __bool__(self) -> bool:
        return bool(self._failed)

    def take(self, failure: Failure) -> bool:
        """Whether it is left for now; False: it is to be tried again at once."""
        key = failure.action.side, failure.action.path
        tries = self._tries[key] = self._tries.get(key, 0) + 1
        if failure.code in _RETRIED and tries < _TRIES_MAX:
            return False
        self._failed[key] = failure
        return True

    def done(self, action: PathChange) -> None:
        """Forget why `action` failed before."""
        self._failed.pop((action.side, action.path), None)
        self._tries.pop((action.side, action.path), None)

    def why(self, action: PathChange) -> str | None:
        """Why `action` is not tried now; None: nothing is against it."""
        failure = self._failed.get((action.side, action.path))
        return failure.words if failure is not None and failure.action == action else None

    def retry(self) -> set[bytes]:
        """Forget all; the directories to look at for that."""
        directories = {split(path)[0] for _, path in self._failed}
        self._failed.clear()
        self._tries.clear()
        return directories
