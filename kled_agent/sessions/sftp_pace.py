"""Limits the requests that sftp-server gets ahead of its answers. No I/O.

OpenSSH's sftp-server reads whatever its input holds, does one request of it, and moves the rest to
the front of its buffer: given 12 MB of small requests it moves 12 MB for each. It answers every
request exactly once and in order (draft-ietf-secsh-filexfer-02, section 3), so what it holds is
known: here it never gets more than a little at a time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

_LENGTH_BYTES: Final = 4
# The largest message (sftp-common.h, SFTP_MAX_MSG_LENGTH).
_MESSAGE_BYTES: Final = _LENGTH_BYTES + 256 * 1024
# While there is no room, one whole message is there to be answered; and part of the next may stay.
AHEAD_BYTES: Final = 2 * _MESSAGE_BYTES


class Messages:
    """Finds where messages begin in a stream of them: a length of four bytes before each."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._left = 0

    def begun(self, data: bytes | memoryview) -> Iterator[int]:
        """The sizes of the messages that begin in `data`, with their lengths' own bytes."""
        at = 0
        while at < len(data):
            if self._left:
                step = min(self._left, len(data) - at)
                self._left -= step
                at += step
                continue
            missing = _LENGTH_BYTES - len(self._head)
            self._head += data[at : at + missing]
            at += missing
            if len(self._head) == _LENGTH_BYTES:
                self._left = int.from_bytes(self._head, "big")
                self._head.clear()
                yield self._left + _LENGTH_BYTES


class SftpPace:
    """Counts what was given and what was answered. `on_room` is called when there is room again."""

    def __init__(self) -> None:
        self._requests, self._answers = Messages(), Messages()
        self._unanswered: deque[int] = deque()
        self._ahead = 0
        self._off = False
        self.on_room: Callable[[], None] = lambda: None

    def room(self) -> int:
        """How many bytes may be given now."""
        return AHEAD_BYTES if self._off else AHEAD_BYTES - self._ahead

    def given(self, data: bytes | memoryview) -> None:
        """`data` has gone in; not more than `room`."""
        if self._off:
            return
        self._ahead += len(data)
        for size in self._requests.begun(data):
            self._unanswered.append(size)
            # sftp-server will end on what is no SFTP; nothing is to be waited for.
            self._off |= size > _MESSAGE_BYTES

    def answered(self, data: bytes) -> None:
        """`data` has come out."""
        before = self._ahead
        for _ in self._answers.begun(data):
            if self._unanswered:
                self._ahead -= self._unanswered.popleft()
        # Not for each small answer: waking who waits costs more than it.
        if before > _MESSAGE_BYTES >= self._ahead:
            self.on_room()
