"""Whether compression is worth its time on a link: what it takes against what it saves.

Of the link only the time counts in which the sender is held up: what it does meanwhile itself says
nothing of the link. Both times are of the same machine under the same load. A link that is near is
taken for quicker than compression until it holds the sender up. No I/O.
"""

from __future__ import annotations

from typing import Final

# More than what pipes, ssh and TCP take at once on a link that is slow.
_WINDOW_BYTES: Final = 16 * 1024 * 1024
# What a near link carries at least, in bytes a second, unless compression helps it.
_NEAR_RATE: Final = 12.5e6
# The fact by which an endpoint says that it can be told so; a near far end answers in this time.
NEAR: Final = "near"
NEAR_S: Final = 0.003


class CompressionWorth:
    """One direction of a link. `is_given` until the contrary is known."""

    def __init__(self) -> None:
        self.is_given = True
        self._measured = False
        # Of the last window in which something was compressed: seconds, and bytes that it saved.
        self._packing_s, self._saved_bytes = 0.0, 0
        self._packing_so_far_s, self._saved_so_far_bytes = 0.0, 0
        self._sent_bytes, self._sending_s = 0, 0.0

    def expect_quick(self) -> None:
        """The link is near; what was measured of it counts for more."""
        if not self._measured:
            self.is_given = False

    def packed(self, saved_bytes: int, seconds: float) -> None:
        """A block was compressed, in `seconds`, and so got smaller by `saved_bytes`."""
        self._packing_so_far_s += seconds
        self._saved_so_far_bytes += saved_bytes

    def sent(self, size: int, seconds: float) -> None:
        """The link has taken `size` bytes, and the sender waited for that."""
        self._sent_bytes += size
        self._sending_s += seconds
        if self._sent_bytes < _WINDOW_BYTES:
            return
        if self._packing_so_far_s:
            self._packing_s, self._saved_bytes = self._packing_so_far_s, self._saved_so_far_bytes
            self._measured = True
        if self._measured:
            saved_s = self._saved_bytes * self._sending_s / self._sent_bytes
            self.is_given = self._packing_s <= saved_s
        else:
            slow = self._sending_s > self._sent_bytes / _NEAR_RATE
            self.is_given = self.is_given or slow
        self._packing_so_far_s, self._saved_so_far_bytes = 0.0, 0
        self._sent_bytes, self._sending_s = 0, 0.0
