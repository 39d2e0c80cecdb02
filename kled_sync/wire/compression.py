"""Whether compression is worth its time on a link: what it takes against what it saves.

Of the link only the time counts in which the sender is held up: what it does meanwhile itself says
nothing of the link. Both times are of the same machine under the same load. No I/O.
"""

from __future__ import annotations

from typing import Final

# More than what pipes, ssh and TCP take at once on a link that is slow.
_WINDOW_BYTES: Final = 16 * 1024 * 1024


class CompressionWorth:
    """One direction of a link. `is_given` until the contrary is known."""

    def __init__(self) -> None:
        self.is_given = True
        # Of the last window in which something was compressed: seconds, and bytes that it saved.
        self._packing_s, self._saved_bytes = 0.0, 0
        self._packing_so_far_s, self._saved_so_far_bytes = 0.0, 0
        self._sent_bytes, self._sending_s = 0, 0.0

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
        saved_s = self._saved_bytes * self._sending_s / self._sent_bytes
        self.is_given = self._packing_s <= saved_s
        self._packing_so_far_s, self._saved_so_far_bytes = 0.0, 0
        self._sent_bytes, self._sending_s = 0, 0.0
