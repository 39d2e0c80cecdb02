"""The body of a response, put together from what is read. No I/O.

Format: RFC 9112, sections 6.3 (how long a body is) and 7.1 (chunks).
"""

from __future__ import annotations

from collections.abc import Iterator

from kled_wire.errors import ProtocolError
from kled_wire.http.heads import ResponseHead
from kled_wire.limits import API_BODY_MAX_BYTES

# A chunk's size with its extensions, or a line of the trailer.
_LINE_MAX = 1024
_SIZE_DIGITS = 15
_HEX = frozenset("0123456789abcdefABCDEF")


class ResponseBody:
    """Feed it what comes behind `head` until it has `finished`; `content` is what it holds then.

    It is not `whole` then where the peer cut it off, or it is `too_long`: over `limit` bytes.
    """

    def __init__(
        self, head: ResponseHead, first: bytes | bytearray, *, limit: int = API_BODY_MAX_BYTES
    ) -> None:
        """`first` was read together with the head. Raises ProtocolError("answer_malformed")."""
        self.content = bytearray()
        self.finished = False
        self.whole = False
        self.too_long = False
        self._limit = limit
        self._unread = bytearray(first)
        self._to_the_end = False
        self._steps = self._read(head)
        next(self._steps, None)

    def feed(self, data: bytes | bytearray) -> None:
        """`data` was read, b"" where the peer closed. Raises as the constructor."""
        self._unread += data
        next(self._steps, None)
        if not data and not self.finished:
            self.finished, self.whole = True, self._to_the_end

    def _read(self, head: ResponseHead) -> Iterator[None]:
        coding = head.headers.get("transfer-encoding")
        length = head.headers.get("content-length")
        if head.status < 200 or head.status in {204, 304}:
            self.whole = True
        elif coding is not None:
            if coding.lower() != "chunked":
                raise _malformed(f"a coding that was not asked for: {coding[:40]!r}")
            yield from self._chunks()
        elif length is not None:
            yield from self._take(int(length))
            self.whole = not self.too_long
        else:
            self._to_the_end = True
            yield from self._take(self._limit + 1)
        self.finished = True

    def _take(self, size: int) -> Iterator[None]:
        room = self._limit - len(self.content)
        missing = min(size, room)
        while missing:
            while not self._unread:
                yield
            piece = self._unread[:missing]
            self.content += piece
            del self._unread[: len(piece)]
            missing -= len(piece)
        self.too_long = size > room

    def _chunks(self) -> Iterator[None]:
        while True:
            line = bytearray()
            yield from self._line(line)
            size = _chunk_size(line)
            if size == 0:
                break
            yield from self._take(size)
            if self.too_long:
                return
            yield from self._line(line)
            if line:
                raise _malformed("a chunk of another size than it says")
        while True:
            yield from self._line(line)
            if not line:
                break
        self.whole = True

    def _line(self, line: bytearray) -> Iterator[None]:
        while (end := self._unread.find(b"\r\n")) < 0:
            if len(self._unread) > _LINE_MAX:
                raise _malformed("a line without an end between chunks")
            yield
        line[:] = self._unread[:end]
        del self._unread[: end + 2]


def _chunk_size(line: bytearray) -> int:
    digits = line.partition(b";")[0].strip(b" \t").decode("latin-1")
    if not digits or not _HEX.issuperset(digits) or len(digits) > _SIZE_DIGITS:
        raise _malformed("a chunk without a size")
    return int(digits, 16)


def _malformed(what: str) -> ProtocolError:
    return ProtocolError("answer_malformed", f"the answer has {what}")
