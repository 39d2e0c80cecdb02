"""Buffers a script's output for the coordinator, and keeps its beginning and end. Pure.

Bytes have absolute offsets. Of those that the coordinator has not taken yet everything within the
head is held, and of what follows the last `tail_bytes`; where more came, offsets jump.
"""

from __future__ import annotations

from kled_wire import limits


class RunOutput:
    """The output of one run. Memory is bounded by head and tail, however much comes."""

    def __init__(
        self,
        *,
        head_bytes: int = limits.SCRIPT_HEAD_BYTES,
        tail_bytes: int = limits.SCRIPT_TAIL_BYTES,
    ) -> None:
        self._head_bytes = head_bytes
        self._tail_bytes = tail_bytes
        self._head = bytearray()
        self._tail = bytearray()
        self._taken = 0
        self.written = 0

    def write(self, data: bytes) -> None:
        """Append what the script has printed."""
        room = max(self._head_bytes - self.written, 0)
        self._head += data[:room]
        self._tail += data[room:]
        if (excess := len(self._tail) - self._tail_bytes) > 0:
            del self._tail[:excess]
        self.written += len(data)

    def next_chunk(self, most: int) -> tuple[int, bytes] | None:
        """Offset and at most `most` of the first bytes that were not taken; None: there are none.

        The same again until `taken` says that they were.
        """
        if self._head:
            return self._taken, bytes(self._head[:most])
        if self._tail:
            return self.written - len(self._tail), bytes(self._tail[:most])
        return None

    @property
    def in_head(self) -> bool:
        """Whether the next chunk is of the head."""
        return bool(self._head)

    def taken(self, end: int) -> None:
        """The coordinator has everything up to byte `end`. What was never written is no matter."""
        end = min(end, self.written)
        if end <= self._taken:
            return
        del self._head[: end - self._taken]
        tail_start = self.written - len(self._tail)
        if end > tail_start:
            del self._tail[: end - tail_start]
        self._taken = end
