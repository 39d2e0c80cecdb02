"""The checks of a continuous sync before it begins and before it deletes; it halts and asks."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from enum import StrEnum
from typing import Final, NamedTuple

import trio

from kled_sync.decide.modes import TWO_WAY, Mode, SyncSide
from kled_sync.decide.reconcile import PathChange
from kled_sync.decide.safety import count_lasting, too_many_deletions, without_packed
from kled_sync.session.agreed.agreement import Agreement
from kled_sync.session.sides.side import Sides
from kled_sync.tree.paths import is_below, shown
from kled_wire.errors import ConflictError, NotFoundError

_WINDOW_S: Final = 60.0
# How often too many deletions are looked at again, how long they have to be the same, and when they
# are believed although they are not.
DOUBT_PAUSE_S: Final = 0.2
_STILL_S: Final = 1.0
_DOUBT_MAX_S: Final = 8.0


class Asks(StrEnum):
    """What a sync halts for and asks about."""

    FILESYSTEM = "filesystem"
    ROOT = "root"
    DELETIONS = "deletions"


def accepts(accepted: Asks | None, asked: Asks) -> bool:
    """Whether who accepted one has accepted another: an empty root means deletions. In another
    filesystem the same files are expected.
    """
    return accepted is asked or accepted is Asks.ROOT


class HaltedError(ConflictError):
    """The sync has stopped and asks; `reason` is for people."""

    def __init__(self, reason: str, asks: Asks) -> None:
        self.asks = asks
        super().__init__(
            "sync_halted",
            reason,
            hint="kled sync resume --accept goes on with that, kled sync reset begins anew",
        )


def check_roots_apart(sides: Sides) -> None:
    """A folder inside the other would be copied into itself for ever. Raises ConflictError."""
    one, other = (sides[side].root for side in SyncSide)
    if one == other or is_below(one, other) or is_below(other, one):
        raise ConflictError("sync_roots_overlap", "one of the folders is inside the other")


def check_roots_there(sides: Sides, agreement: Agreement, mode: Mode) -> None:
    """A source that was never seen is a mistake, no empty folder. Raises NotFoundError."""
    if agreement.tree.root is not None:
        return  # one that was seen, and has gone, halts the sync
    sources = tuple(SyncSide) if mode in TWO_WAY else (SyncSide.ALPHA,)
    if all(sides[side].facts.get("there") is False for side in sources):
        names = " nor ".join(shown(sides[side].root) for side in sources)
        raise NotFoundError(
            "sync_source_missing",
            f"there is neither {names}" if len(sources) > 1 else f"there is no {names}",
            hint="make the folder, or correct the path",
        )


class DeletionCheck:
    """Finds that too much of what was agreed on goes: at once, or within a minute.

    `rm -r` of a large directory takes longer than one look. Only the net loss of agreed entries
    counts, so files that come and go do not; nor do git's loose objects that were packed.
    """

    def __init__(self, agreement: Agreement, sides: Sides) -> None:
        self._agreement, self._sides = agreement, sides
        # When so many entries were agreed on; of the last minute those that no later one exceeds.
        self._counts: deque[tuple[float, int]] = deque()
        self._doubt: _Doubt | None = None
        self._is_accepted = False

    def check(self, actions: Sequence[PathChange], accepted: Asks | None, *, is_busy: bool) -> bool:
        """Whether `actions` may be carried out; False: look again in `DOUBT_PAUSE_S`.

        What was asked about and accepted is not counted, until no transfer is running; `is_busy`:
        whether one is.

        A program may be about to make what it has deleted under other names, as `git checkout`
        does. So too much is believed once nothing has changed for a moment. Raises HaltedError.
        """
        if accepts(accepted, Asks.DELETIONS):
            self._is_accepted = True
            return True
        if self._is_accepted:
            self._counts.clear()
            self._is_accepted = is_busy
        many = self._too_many(actions) if actions else None
        if many is None:
            self._doubt = None
            return True
        now, seen = trio.current_time(), hash(frozenset(actions))
        doubt = self._doubt or _Doubt(now, now, seen)
        if doubt.seen != seen:
            doubt = doubt._replace(seen_at=now, seen=seen)
        if now - doubt.seen_at >= _STILL_S or now - doubt.began_at >= _DOUBT_MAX_S:
            raise HaltedError(many, Asks.DELETIONS)
        self._doubt = doubt
        return False

    def _too_many(self, actions: Sequence[PathChange]) -> str | None:
        now, known = trio.current_time(), count_lasting(self._agreement.tree)
        while self._counts and self._counts[-1][1] <= known:
            self._counts.pop()
        self._counts.append((now, known))
        while self._counts[0][0] < now - _WINDOW_S:
            self._counts.popleft()
        most = self._counts[0][1]
        for side in SyncSide:
            own = [action for action in actions if action.side is side]
            if own and too_many_deletions(own, most, most - known) is not None:
                own = without_packed(own, self._sides[side.other].tree)
                many = too_many_deletions(own, most, most - known)
                if many is not None:
                    return many
        return None


class _Doubt(NamedTuple):
    """Too many deletions: since when, and since when they are those with the hash `seen`."""

    began_at: float
    seen_at: float
    seen: int
