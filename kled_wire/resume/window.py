"""The limit of unacknowledged bytes: rate times round trip, between two bounds.

A fixed window caps a stream at window / round trip. This one follows what the way carries: twice
the measured delivery rate times the shortest round trip lately seen. The shortest, because a
longer one is our own queue, and a window that grew with it would grow for ever. And that of a
ping, which the reader answers at once: an acknowledgement also waits for the application.
"""

from __future__ import annotations

import math
from typing import Final

WINDOW_MIN: Final = 256 * 1024
WINDOW_MAX: Final = 32 * 1024 * 1024
# A round trip is measured so often while much is under way, and forgotten after the second, so
# that a change of path is noticed. Seconds.
ASK_EVERY_S: Final = 0.1
_FORGET_S: Final = 10.0
_GAIN: Final = 2
# The time that the two ends need until they are scheduled, beside the round trip; on a short path
# it is the larger part.
_SLACK_S: Final = 0.004


class Window:
    """The bound on unacknowledged bytes. Times are of one monotonic clock, in seconds."""

    __slots__ = ("_asked_at", "_base", "_probe", "_rtt", "_rtt_at", "maximum", "size")

    def __init__(self, maximum: int = WINDOW_MAX) -> None:
        self.maximum = max(maximum, WINDOW_MIN)
        self.size = WINDOW_MIN
        self._rtt: float | None = None
        self._rtt_at = 0.0
        self._asked_at = -math.inf
        # The rate is taken from one probe at a time: the offset whose ack is awaited.
        self._probe: int | None = None
        self._base = (0, 0.0)

    @property
    def rtt_s(self) -> float | None:
        """The shortest round trip lately, None before the first."""
        return self._rtt

    def asks(self, unacked: int, now: float) -> bool:
        """Whether to ping now, with so many bytes `unacked`: little needs no larger window."""
        if unacked < WINDOW_MIN // 2 or now < self._asked_at + ASK_EVERY_S:
            return False
        self._asked_at = now
        return True

    def answered(self, asked_at: float, now: float) -> None:
        """A ping of `asked_at` was answered."""
        sample = max(now - asked_at, 1e-6)
        if self._rtt is None or sample <= self._rtt or now - self._rtt_at > _FORGET_S:
            self._rtt, self._rtt_at = sample, now

    def sent(self, offset: int) -> None:
        """Everything before `offset` has been handed to the transport."""
        if self._probe is None:
            self._probe = offset

    def acked(self, offset: int, now: float) -> None:
        """Everything before `offset` has been acknowledged."""
        if self._probe is None or offset < self._probe:
            return
        self._probe = None
        base_offset, base_at = self._base
        self._base = (offset, now)
        if self._rtt is not None and now > base_at and base_at:
            rate = (offset - base_offset) / (now - base_at)
            wanted = int(_GAIN * rate * (self._rtt + _SLACK_S))
            # Grow at once, shrink slowly: a pause in writing is not a slow path.
            floor = wanted if wanted > self.size else (self.size * 7 + wanted) // 8
            self.size = min(max(floor, WINDOW_MIN), self.maximum)

    def detached(self) -> None:
        """The transport is gone: its round trips say nothing about the next one's."""
        self._probe = self._rtt = None
        self._asked_at = -math.inf
        self._base = (0, 0.0)
