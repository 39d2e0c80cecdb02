"""The byte streams of endpoints, and splice(2) from one endpoint's stream to another's."""

from __future__ import annotations

import array
import fcntl
import os
import stat
import sys
import termios
from contextlib import suppress
from typing import Final, Protocol

import trio
from trio.abc import ReceiveStream, SendStream

# Waiting for readability takes longer than reading what is there. So many reads follow without a
# wait; then other tasks run.
_AT_ONCE: Final = 8


class ByteStream(Protocol):
    """A process's pipes, or an SSH channel."""

    async def receive_into(self, space: memoryview) -> int:
        """Receive into `space` and return how many bytes came; 0 at the end of the stream."""

    async def send_all(self, data: bytes | memoryview) -> None:
        """Send all of `data`; waits while the other side does not read."""


class PipeStream:
    """A process's standard input and output, or a pair of pipes."""

    def __init__(self, pipes: trio.StapledStream[SendStream, ReceiveStream]) -> None:
        assert isinstance(pipes.receive_stream, trio.lowlevel.FdStream)
        assert isinstance(pipes.send_stream, trio.lowlevel.FdStream)
        self.reader, self.writer = pipes.receive_stream, pipes.send_stream
        self._at_once = 0

    async def receive_into(self, space: memoryview) -> int:
        """As ByteStream has it; trio's own allocates for each read. Raises trio's errors."""
        reader = self.reader.fileno()
        while True:
            if not self._at_once:
                await trio.lowlevel.wait_readable(reader)
                self._at_once = _AT_ONCE
            self._at_once -= 1
            try:
                return os.readv(reader, [space])
            except BlockingIOError:
                self._at_once = 0

    async def send_all(self, data: bytes | memoryview) -> None:
        """No checkpoint where the pipe takes it all at once. Raises trio's errors."""
        written = 0
        with suppress(OSError):
            written = os.write(self.writer.fileno(), data)
        if written < len(data):
            await self.writer.send_all(memoryview(data)[written:])


class Passage:
    """From the pipe that one endpoint writes to into the pipe that another reads, by splice(2)."""

    def __init__(self, source: PipeStream, target: PipeStream) -> None:
        self._source, self._target = source.reader, target.writer
        self._there = array.array("i", [0])

    def has(self, count: int) -> bool:
        """Whether so many bytes are there to be moved.

        The target takes nothing else until a block is whole: a source that is slow must not
        hold that up, nor leave it half a block when it ends.
        """
        fcntl.ioctl(self._source.fileno(), termios.FIONREAD, self._there)
        return self._there[0] >= count

    async def move(self, count: int) -> None:
        """Move `count` bytes, which `has` said are there. Raises trio's errors."""
        while count:
            try:
                count -= _splice(self._source.fileno(), self._target.fileno(), count)
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self._target.fileno())
            except OSError as exc:
                raise trio.BrokenResourceError from exc


def open_passage(source: ByteStream, target: ByteStream) -> Passage | None:
    """A passage; None where either stream is no pipe, or the system has no splice(2)."""
    if sys.platform != "linux":
        return None
    if not (isinstance(source, PipeStream) and isinstance(target, PipeStream)):
        return None
    ends = (source.reader.fileno(), target.writer.fileno())
    if not all(stat.S_ISFIFO(os.fstat(end).st_mode) for end in ends):
        return None
    return Passage(source, target)


def _splice(source: int, target: int, count: int) -> int:
    """How many bytes went, at least one. Raises OSError."""
    assert sys.platform == "linux"
    moved = os.splice(source, target, count, flags=os.SPLICE_F_NONBLOCK)
    if not moved:
        raise BrokenPipeError("the source ended")
    return moved
