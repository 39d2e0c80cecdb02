"""Non-blocking reads and writes on the descriptors of a program's terminal or pipes."""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Callable
from typing import Final

import trio

from kled_agent.sessions.sftp_pace import SftpPace
from kled_wire.scheduling import BLOCK_BYTES, TypingPriority

# Input queued for a program that does not read; past it the SSH window is no longer opened.
INPUT_HIGH_BYTES: Final = 256 * 1024
# The kernel keeps 64 KiB of a terminal's output (tty_buffer.c); with what comes in meanwhile.
REST_BYTES: Final = 1024 * 1024
# How long a background program may be silent before the output counts as all there.
REST_WAIT_S: Final = 0.1


async def read_all(
    descriptor: Descriptor,
    deliver: Callable[[bytes], trio.Event | None],
    priority: TypingPriority,
) -> None:
    """Read to the end, giving each block to `deliver`; where it returns an event, wait for it."""
    while data := await _read_block(descriptor, priority.block_bytes):
        if (room := deliver(data)) is not None:
            await room.wait()
        await priority.after_block(len(data))


async def read_rest(descriptor: Descriptor, deliver: Callable[[bytes], trio.Event | None]) -> None:
    """Read what a terminal still holds when its program has ended.

    The end is EIO when the last program on the terminal is gone. One left in the background keeps
    it open, and may write for ever: then a moment without output is the end, or REST_BYTES.
    """
    left = REST_BYTES
    while left > 0:
        data = b""
        with trio.move_on_after(REST_WAIT_S):
            data = await _read_block(descriptor, lambda: BLOCK_BYTES)
        if not data:
            return
        left -= len(data)
        if (room := deliver(data)) is not None:
            await room.wait()


async def _read_block(descriptor: Descriptor, most: Callable[[], int]) -> bytes:
    """Wait for bytes and read what is there, `most()` of it; b"" at the end.

    The end is EOF, EIO (a terminal's last writer is gone), or that we closed the descriptor.
    """
    while True:
        # Waiting first saves a read in vain for each keystroke, and gives other sessions their
        # turn when a program floods.
        try:
            await descriptor.wait_readable()
            return os.read(descriptor.number, most())
        except BlockingIOError:
            continue
        except trio.ClosedResourceError:
            return b""
        except OSError as exc:
            if exc.errno in {errno.EIO, errno.EBADF}:
                return b""
            raise


class Descriptor:
    """An open file descriptor with one owner; closing it twice does nothing."""

    __slots__ = ("_number",)

    def __init__(self, number: int) -> None:
        """Take `number` over and make it not block."""
        os.set_blocking(number, False)
        self._number = number

    @property
    def number(self) -> int:
        """What system calls take; -1 once closed, which they refuse with EBADF."""
        return self._number

    async def wait_readable(self) -> None:
        """Raises trio.ClosedResourceError, also when it is closed meanwhile."""
        self._check_open()
        await trio.lowlevel.wait_readable(self._number)

    async def wait_writable(self) -> None:
        """Raises trio.ClosedResourceError, also when it is closed meanwhile."""
        self._check_open()
        await trio.lowlevel.wait_writable(self._number)

    def _check_open(self) -> None:
        # Trio's table of waiting tasks takes -1 for a descriptor like any other.
        if self._number < 0:
            raise trio.ClosedResourceError("this descriptor was closed")

    def close(self) -> None:
        """Close it. A task that waits on it is woken with trio.ClosedResourceError."""
        if self._number >= 0:
            number, self._number = self._number, -1
            trio.lowlevel.notify_closing(number)
            os.close(number)


class InputQueue:
    """Input of the client on its way into `descriptor`; calls `on_full` and `on_room`."""

    def __init__(
        self,
        descriptor: Descriptor,
        *,
        on_full: Callable[[], None],
        on_room: Callable[[], None],
        pace: SftpPace | None = None,
    ) -> None:
        self._descriptor = descriptor
        self._pace = pace
        if pace is not None:
            pace.on_room = self._look_again
        self._on_full = on_full
        self._on_room = on_room
        self._blocks: deque[memoryview] = deque()
        self._size = 0
        self._full = False
        self._ended = False
        self._broken = False
        self._wake = trio.Event()

    def write_nowait(self, data: bytes) -> None:
        """Write at once what fits and queue the rest. Data for a program that is gone is lost."""
        if self._broken or self._ended:
            return
        view = memoryview(data)
        if not self._blocks:
            view = view[self._write(view) :]
        if view and not self._broken:
            self._blocks.append(view)
            self._size += len(view)
            self._wake.set()
            if self._size > INPUT_HIGH_BYTES and not self._full:
                self._full = True
                self._on_full()

    def end_nowait(self) -> None:
        """No more input comes; `run` returns when what is queued has been written."""
        self._ended = True
        self._wake.set()

    async def run(self) -> None:
        """Write what is queued until the end was said or the program stopped reading."""
        while not self._broken:
            if not self._blocks:
                if self._ended:
                    return
                await self._wake.wait()
                self._wake = trio.Event()
                continue
            self._write_queued()
            if self._blocks and self._pace is not None and not self._pace.room():
                await self._wake.wait()
                self._wake = trio.Event()
            elif self._blocks and not self._broken:
                try:
                    await self._descriptor.wait_writable()
                except trio.ClosedResourceError:
                    return

    def _write_queued(self) -> None:
        while self._blocks and not self._broken:
            block = self._blocks[0]
            sent = self._write(block)
            self._size -= sent
            if sent < len(block):
                self._blocks[0] = block[sent:]
                break
            self._blocks.popleft()
        if self._full and self._size <= INPUT_HIGH_BYTES // 2:
            self._full = False
            self._on_room()

    def _look_again(self) -> None:
        self._wake.set()

    def _write(self, view: memoryview) -> int:
        if self._pace is None:
            return self._write_now(view)
        sent = self._write_now(view[: self._pace.room()])
        self._pace.given(view[:sent])
        return sent

    def _write_now(self, view: memoryview) -> int:
        try:
            return os.write(self._descriptor.number, view)
        except BlockingIOError:
            return 0
        except OSError as exc:
            if exc.errno not in {errno.EPIPE, errno.EIO, errno.EBADF}:
                raise
            self._broken = True
            self._wake.set()
            return len(view)
