"""Written data that is not yet acknowledged, by absolute offset. Kept by reference."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from kled_wire.errors import ProtocolError
from kled_wire.resume.frames import DATA_MAX


class Outbox:
    """Bytes `start` to `end` of a direction; `sent` is how far this transport has been given.

    The peer may have more than that: what an earlier transport was given, up to `_given`.
    """

    __slots__ = ("_chunks", "_given", "_next", "end", "sent", "start")

    def __init__(self) -> None:
        self._chunks: deque[memoryview] = deque()
        self._next = 0  # index of the chunk that `sent` lies in
        self.start = 0
        self.sent = 0
        self.end = 0
        self._given = 0

    @property
    def unacked(self) -> int:
        """How many bytes are kept."""
        return self.end - self.start

    def append(self, data: bytes | memoryview) -> None:
        """Keep `data`, which must not change any more."""
        view = memoryview(data)
        for begin in range(0, len(view), DATA_MAX):
            self._chunks.append(view[begin : begin + DATA_MAX])
        self.end += len(view)

    def acked(self, offset: int) -> None:
        """The peer has taken everything before `offset`; an older ack says nothing new.

        What it has from an earlier transport is not sent again on this one.
        Raises ProtocolError("ack_out_of_range"), changing nothing.
        """
        if offset > self._given:
            raise ProtocolError(
                "ack_out_of_range", f"ack {offset}, outstanding {self.start}..{self._given}"
            )
        while self.start < offset:
            first = self._chunks[0]
            taken = min(len(first), offset - self.start)
            self.start += taken
            if taken == len(first):
                self._chunks.popleft()
                self._next -= 1
            else:
                self._chunks[0] = first[taken:]
        if self.sent < offset:
            self.sent, self._next = offset, 0

    def rewind(self, offset: int) -> None:
        """A new transport: the peer has everything before `offset`, the rest is sent again.

        Raises ProtocolError("offset_gone") when that is already forgotten or was never sent.
        """
        if not self.start <= offset <= self._given:
            raise ProtocolError(
                "offset_gone", f"the peer has {offset} bytes, kept are {self.start}..{self._given}"
            )
        self.acked(offset)
        self.sent, self._next = self.start, 0

    def take(self, limit: int) -> Iterator[tuple[int, int, list[memoryview]]]:
        """What comes next, about `limit` bytes of it, marked as sent: a frame's worth at a time.

        Each is an offset, a length of at most DATA_MAX, and the chunks that make it up.
        """
        while limit > 0 and self._next < len(self._chunks):
            offset = self.sent
            chunks: list[memoryview] = []
            while self._next < len(self._chunks):
                chunk = self._chunks[self._next]
                if chunks and self.sent - offset + len(chunk) > DATA_MAX:
                    break
                chunks.append(chunk)
                self._next += 1
                self.sent += len(chunk)
            self._given = max(self._given, self.sent)
            length = self.sent - offset
            limit -= length
            yield offset, length, chunks
