"""Bandwidth limits: token buckets, and a fair queue of the streams that share one. No I/O.

A bucket fills at its rate, and bytes are deducted before they move, so at most rate x time + burst
bytes pass. The stream that has had least gets the next quantum (start-time fair queueing): streams
that always have data share a bucket evenly, and a keystroke precedes the next quantum of a bulk
copy. Times are seconds that the caller passes, and never decrease.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Final, Generic, NamedTuple, TypeVar

# What one grant moves at most: a keystroke waits for one of these.
QUANTUM_BYTES: Final = 64 * 1024
# A bucket holds this much of its rate, so that a screenful is there at once.
_BURST_S: Final = 0.1
# Quanta of a slow bucket are not smaller than what it gets in this time: bytes one by one are dear.
_QUANTUM_S: Final = 0.005
# Floats round: a moment later there is surely enough.
_MARGIN_S: Final = 1e-6

K = TypeVar("K", bound=Hashable)


class Share(NamedTuple):
    """A bucket of one direction: whose it is, as a number, and its bytes a second."""

    number: int
    rate: int


class Bucket:
    """Fills with `rate` bytes a second up to `burst`; new ones are full."""

    __slots__ = ("_at", "_level", "burst", "clock", "least", "rate")

    def __init__(self, rate: float, now: float) -> None:
        self.rate = rate
        self.burst = max(float(QUANTUM_BYTES), rate * _BURST_S)
        # A turn begins once there is so much.
        self.least = min(float(QUANTUM_BYTES), max(1.0, rate * _QUANTUM_S))
        # The virtual time of those that share it: how far the last one served had come.
        self.clock = 0.0
        self._level = self.burst
        self._at = now

    def level(self, now: float) -> float:
        """Bytes that may move now."""
        if now > self._at:
            self._level = min(self.burst, self._level + (now - self._at) * self.rate)
            self._at = now
        return self._level

    def spend(self, amount: int, now: float) -> None:
        """Take out what moves; no more than `level`."""
        self._level = self.level(now) - amount

    def ready_at(self, now: float) -> float:
        """When a turn may begin, if nobody else takes one."""
        lacks = self.least - self.level(now)
        return now if lacks <= 0 else now + lacks / self.rate + _MARGIN_S


class Buckets:
    """The buckets in use, by whose they are and which way; one for all streams that name it."""

    def __init__(self) -> None:
        self._buckets: dict[tuple[int, bool], Bucket] = {}
        self._users: dict[tuple[int, bool], int] = {}

    def take(self, shares: Iterable[Share], *, to_agent: bool, now: float) -> tuple[Bucket, ...]:
        """The buckets of one direction of a stream, until it gives them back."""
        found = []
        for share in shares:
            key = (share.number, to_agent)
            if key not in self._buckets:
                self._buckets[key] = Bucket(share.rate, now)
            self._users[key] = self._users.get(key, 0) + 1
            found.append(self._buckets[key])
        return tuple(found)

    def give_back(self, shares: Iterable[Share], *, to_agent: bool, now: float) -> None:
        """The direction has ended. A bucket is forgotten when it is full: a new one would be."""
        for share in shares:
            self._users[share.number, to_agent] -= 1
        unused = [key for key, users in self._users.items() if not users]
        for key in unused:
            if self._buckets[key].level(now) >= self._buckets[key].burst:
                del self._buckets[key], self._users[key]


@dataclass(slots=True)
class _Place:
    buckets: tuple[Bucket, ...]
    number: int
    at: float


class FairQueue(Generic[K]):
    """Streams that wait for their buckets, in the order of their turns."""

    def __init__(self) -> None:
        self._places: dict[K, _Place] = {}
        # (when, number of the place, who); entries that are not the place's own are stale.
        self._queue: list[tuple[float, int, K]] = []
        self._had: dict[K, float] = {}
        self._number = 0

    def wait(self, who: K, buckets: tuple[Bucket, ...], now: float) -> None:
        """Stand in line; nothing happens to one who does already."""
        if who not in self._places:
            self._number += 1
            self._places[who] = _Place(buckets, self._number, now)
            self._push(who, now)

    def forget(self, who: K) -> None:
        """Leave for good."""
        self._places.pop(who, None)
        self._had.pop(who, None)

    def ready_at(self) -> float:
        """When somebody's turn may come; infinite when nobody waits."""
        while self._queue and self._is_stale(self._queue[0]):
            heapq.heappop(self._queue)
        return self._queue[0][0] if self._queue else math.inf

    def due(self, now: float) -> list[K]:
        """The waiting streams whose turn may have come, fairest first.

        Ask `amount` for each, then `end`.
        """
        found = []
        while self.ready_at() <= now:
            found.append(heapq.heappop(self._queue)[2])
        return sorted(found, key=lambda who: (self._start(who), self._places[who].number))

    def amount(self, who: K, now: float) -> int:
        """Bytes that `who` may move now; 0: it still waits, others were first, or has left."""
        if who not in self._places:
            return 0
        buckets = self._places[who].buckets
        if any(bucket.level(now) < bucket.least for bucket in buckets):
            self._push(who, now)
            return 0
        return int(min(QUANTUM_BYTES, *(bucket.level(now) for bucket in buckets)))

    def end(self, who: K, moved: int, now: float) -> None:
        """The turn is over and `who` waits no more."""
        start = self._start(who)
        for bucket in self._places.pop(who).buckets:
            bucket.clock = start
            bucket.spend(moved, now)
        self._had[who] = start + moved

    def _start(self, who: K) -> float:
        return max(self._had.get(who, 0.0), *(b.clock for b in self._places[who].buckets))

    def _push(self, who: K, now: float) -> None:
        place = self._places[who]
        place.at = max(bucket.ready_at(now) for bucket in place.buckets)
        heapq.heappush(self._queue, (place.at, place.number, who))

    def _is_stale(self, entry: tuple[float, int, K]) -> bool:
        at, number, who = entry
        place = self._places.get(who)
        return place is None or place.number != number or place.at != at
