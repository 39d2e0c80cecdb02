"""Writes what comes out of a FIFO to a file that is rotated: run as `python -I -S logger.py`.

Arguments: FIFO, LOG, MAX_BYTES (of one file) and FILES (how many, LOG itself among them; then there
are LOG.1, LOG.2, …). A task's shim has the FIFO as the task's standard output and error. It is held
open for writing here too, so that it never ends: shims come and go with the task's restarts, and
what was printed waits while none of us is there, as long as it fits into the pipe. SIGTERM: write
what is in the pipe, then end.

What a full disk does not take is lost and counted, and the count stands in the log once there is
room: a container never waits for its log. Standard library alone: it stays as long as that.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from contextlib import suppress

_BLOCK = 65536


def cut(block: bytes, room: int, file_bytes: int) -> int:
    """Return how many bytes of `block` go into a file with `room` left; the rest into the next.

    A line is not cut where it fits into a file of `file_bytes` at all.
    """
    if len(block) <= room:
        return len(block)
    end = block.rfind(b"\n", 0, max(room, 0)) + 1
    rest = block.find(b"\n", end)
    line = (rest if rest >= 0 else len(block)) - end
    return end if end or line < file_bytes else max(room, 0)


class RotatedFile:
    """The log and the older ones beside it."""

    def __init__(self, path: str, max_bytes: int, files: int) -> None:
        self._path, self._max_bytes, self._files = path, max_bytes, files
        self._fd = -1
        self._size = 0
        self._lost = 0

    def write(self, block: bytes) -> None:
        """Write all of it, or as much as the disk takes."""
        if self._lost:
            note = f"[kled: {self._lost} bytes lost: they could not be written]\n".encode()
            if self._put(note) < len(note):
                self._lost += len(block)
                return
            self._lost = 0
        self._lost = len(block) - self._put(block)

    def _put(self, block: bytes) -> int:
        """Return how many bytes were written."""
        done = 0
        try:
            while done < len(block):
                self._open()
                left = memoryview(block)[done:]
                room = cut(bytes(left), self._max_bytes - self._size, self._max_bytes)
                if room == 0:
                    self._rotate()
                    continue
                written = os.write(self._fd, left[:room])
                done += written
                self._size += written
        except OSError:
            return done
        return done

    def _open(self) -> None:
        if self._fd < 0:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
            self._fd = os.open(self._path, flags, 0o600)
            self._size = os.fstat(self._fd).st_size

    def _rotate(self) -> None:
        os.close(self._fd)
        self._fd = -1
        names = [self._path, *(f"{self._path}.{n}" for n in range(1, self._files))]
        with suppress(FileNotFoundError):
            os.unlink(names[-1])  # noqa: PTH108 - pathlib costs memory and time to start
        for older, newer in zip(names[:0:-1], names[-2::-1], strict=True):
            with suppress(FileNotFoundError):
                os.rename(newer, older)  # noqa: PTH104


def main() -> None:
    """Copy until SIGTERM."""
    fifo, path, max_bytes, files = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    source = os.open(fifo, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    target = RotatedFile(path, max_bytes, files)
    ending, told = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGTERM, lambda *_: os.write(told, b"\0"))
    poll = select.poll()
    poll.register(source, select.POLLIN)
    poll.register(ending, select.POLLIN)
    while True:
        ready = {fd for fd, _ in poll.poll()}
        with suppress(BlockingIOError):
            while block := os.read(source, _BLOCK):
                target.write(block)
                if ending in ready and len(block) < _BLOCK:
                    break
        if ending in ready:
            return


if __name__ == "__main__":
    main()
