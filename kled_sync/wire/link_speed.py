"""Whether compression is worth its time on a link, from how long the link took what was sent.

Only the time that a sender was held up counts: what it does meanwhile itself says nothing of the
link. No I/O.
"""

from __future__ import annotations

from typing import Final

# More than what pipes, ssh and TCP take at once on a link that is slow.
_WINDOW_BYTES: Final = 16 * 1024 * 1024
# The compressor's speed is 400 MB/s, and half of that saved on the link: what is quicker than this
# has a block sooner as it is.
_FAST_BYTES_S: Final = 160 * 1000 * 1000


class LinkSpeed:
    """One direction of a link. `is_slow` until it is known to be fast."""

    def __init__(self) -> None:
        self.is_slow = True
        self._bytes = 0
        self._seconds = 0.0

    def sent(self, size: int, seconds: float) -> None:
        """The link has taken `size` bytes, and the sender waited for that."""
        self._bytes += size
        self._seconds += seconds
        if self._bytes >= _WINDOW_BYTES:
            self.is_slow = self._bytes < _FAST_BYTES_S * self._seconds
            self._bytes, self._seconds = 0, 0.0
