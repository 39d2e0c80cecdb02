"""The last output of a session: a file of bounded size, and its newest part in memory.

Bytes are addressed by their absolute offset in all that the terminal ever wrote.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

# The newest output, from which clients that keep up are served; twice as much may be held for a
# moment.
TAIL_BYTES: Final = 256 * 1024


class Ring:
    """Append and read; `start` is the oldest offset kept, `end` the next to be written.

    A full disk costs the history, never the session: `start` then moves up to what is in memory.
    """

    def __init__(self, path: Path, capacity: int, tail_bytes: int = TAIL_BYTES) -> None:
        """Make the file, 0600; the last `tail_bytes` stay in memory. Raises OSError."""
        self.capacity = max(capacity, tail_bytes)
        self._tail_bytes = tail_bytes
        self.end = 0
        self._on_disk_from = 0
        self._tail = bytearray()
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        self._file = os.open(path, flags, 0o600)

    @property
    def start(self) -> int:
        """The oldest offset that can be read."""
        kept = max(self._on_disk_from, self.end - self.capacity)
        return min(kept, self.end - len(self._tail))

    def append(self, data: bytes) -> None:
        """Keep `data`, giving up the oldest."""
        self._tail += data
        if len(self._tail) > 2 * self._tail_bytes:
            del self._tail[: -self._tail_bytes]
        offset, self.end = self.end, self.end + len(data)
        view = memoryview(data)[-self.capacity :]
        offset = self.end - len(view)
        try:
            while view:
                at = offset % self.capacity
                written = os.pwrite(self._file, view[: self.capacity - at], at)
                view, offset = view[written:], offset + written
        except OSError:
            self._on_disk_from = self.end

    def read(self, offset: int, size: int) -> bytes:
        """At most `size` bytes from `offset` on; what is no longer kept is passed over.

        May give fewer than there are; b"" only at the end.
        """
        in_memory = self.end - len(self._tail)
        if offset >= in_memory:
            begin = offset - in_memory
            return bytes(self._tail[begin : begin + size])
        offset = max(offset, self.start)
        if offset >= in_memory:
            return self.read(offset, size)
        at = offset % self.capacity
        size = min(size, in_memory - offset, self.capacity - at)
        try:
            return os.pread(self._file, size, at) or self.read(in_memory, size)
        except OSError:
            return self.read(in_memory, size)

    def slice(self, start: int, end: int) -> bytes:
        """All that is kept between two offsets."""
        parts = []
        start = max(start, self.start)
        while start < end and (part := self.read(start, end - start)):
            parts.append(part)
            start += len(part)
        return b"".join(parts)

    def close(self) -> None:
        """Close the file; it stays."""
        os.close(self._file)
