"""How strongly contents are compressed on a link: as it is quickest.

A window is some megabytes of what the link has taken. After each it is asked who held up the
other: a sender that mostly waited for the link tries the next stronger level, one that did not wait
at all the next weaker one. What each level brought over in a second is
remembered for a while, so that a level which turned out slower is left again and not tried at once.
All times are of the same machine under the same load. A link that is near is taken for quicker than
compression until it holds the sender up. No I/O.
"""

from __future__ import annotations

from typing import Final

# Without compression, then levels of zstandard: each takes about twice as long as the one before,
# and those above save little.
LEVELS: Final = (0, 1, 3, 6)
_FIRST: Final = 3
# More than what pipes, ssh and TCP take at once on a link that is slow.
_WINDOW_BYTES: Final = 16 * 1024 * 1024
# What a near link carries at least, in bytes a second, unless compression helps it.
_NEAR_RATE: Final = 12.5e6
# A sender that waits for so many times what compression takes has the time for the next level.
_HELD_UP: Final = 2.0
# A sender that took no longer for what it sent was never held up: so quickly memory is copied.
_COPYING_RATE: Final = 5e8
# Another level has to bring over so many times as much: less may be chance.
_BETTER: Final = 1.05
# For how many windows it is remembered what a level brought over: links change.
_REMEMBERED: Final = 8
# The fact by which an endpoint says that it can be told of a near link; its far end answers in
# this time.
NEAR: Final = "near"
NEAR_S: Final = 0.003
# The fact by which an endpoint says that it makes and opens the blocks of a stream (`job_stream`).
STREAMS: Final = "streams"


class CompressionWorth:
    """One direction of a link. `level` is one of LEVELS."""

    def __init__(self) -> None:
        self.level = _FIRST
        self._is_near = False
        # The first window goes into buffers, whatever the link carries.
        self._windows = 0
        # By level: bytes of content in a second, and after how many windows that was.
        self._brought: dict[int, tuple[float, int]] = {}
        self._content_bytes = self._sent_bytes = 0
        self._packing_s = self._waited_s = self._taken_s = 0.0

    def expect_quick(self) -> None:
        """The link is near; what was measured of it counts for more."""
        if not self._brought:
            self._is_near, self.level = True, 0

    def packed(self, seconds: float) -> None:
        """A block was compressed, in `seconds`, and got smaller."""
        self._packing_s += seconds

    def sent(self, content_bytes: int, size: int, *, waited_s: float, taken_s: float) -> None:
        """The link has taken `size` bytes for so much content.

        For that the sender waited, and took so long in all. What no level makes smaller is not
        told of.
        """
        self._content_bytes += content_bytes
        self._sent_bytes += size
        self._waited_s += waited_s
        self._taken_s += taken_s
        if self._sent_bytes < _WINDOW_BYTES:
            return
        self._windows += 1
        if self._is_near:
            self._watch_near()
        elif self._windows > 1:
            self._brought[self.level] = self._content_bytes / self._taken_s, self._windows
            self.level = self._next()
        self._content_bytes = self._sent_bytes = 0
        self._packing_s = self._waited_s = self._taken_s = 0.0

    def _watch_near(self) -> None:
        if self._waited_s > self._sent_bytes / _NEAR_RATE:
            self._is_near, self.level = False, _FIRST

    def _next(self) -> int:
        """The level for the next window."""
        at = LEVELS.index(self.level)
        if not self._packing_s:
            at += self._waited_s > self._taken_s / _HELD_UP
        elif self._waited_s > _HELD_UP * self._packing_s:
            at += 1
        elif self._waited_s < self._sent_bytes / _COPYING_RATE:
            at -= 1
        other = LEVELS[min(max(at, 0), len(LEVELS) - 1)]
        brought, after = self._brought.get(other, (0.0, -_REMEMBERED))
        known = self._windows - after < _REMEMBERED
        is_better = brought > self._brought[self.level][0] * _BETTER
        return self.level if known and not is_better else other
