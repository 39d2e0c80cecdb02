"""Reads on in a log that is written and rotated meanwhile, from a position its reader keeps."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class LogPosition:
    """How far a log was read: a file, which keeps its inode when it is renamed, and an offset."""

    inode: int
    offset: int

    def __str__(self) -> str:
        return f"{self.inode}:{self.offset}"


def parse_position(text: str) -> LogPosition:
    """Read what `str` gives. Raises ValueError."""
    if re.fullmatch(r"[0-9]{1,19}:[0-9]{1,19}", text) is None:
        raise ValueError(f"no position in a log: {text[:80]!r}")
    inode, _, offset = text.partition(":")
    return LogPosition(int(inode), int(offset))


def end_position(log: Path, most_bytes: int) -> LogPosition:
    """Return where the last bytes begin, of the log and the one before. Raises OSError."""
    found = log.stat()
    missing = most_bytes - found.st_size
    older = log.with_name(f"{log.name}.1")
    if missing > 0 and older.exists():
        before = older.stat()
        return LogPosition(before.st_ino, max(0, before.st_size - missing))
    return LogPosition(found.st_ino, max(0, -missing))


def read_on(log: Path, position: LogPosition, most_bytes: int) -> tuple[bytes, LogPosition]:
    """Return what follows a position, and the position behind it. Raises OSError.

    Where its file is no more, because it was rotated away or the log is another container's, it
    begins with the newest.
    """
    newer: Path | None = None
    for path in _files(log):
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_ino == position.inode:
                data = os.pread(file.fileno(), most_bytes, position.offset)
                if not data and newer is not None:
                    return read_on(log, LogPosition(newer.stat().st_ino, 0), most_bytes)
                return data, LogPosition(position.inode, position.offset + len(data))
        newer = path
    return read_on(log, LogPosition(log.stat().st_ino, 0), most_bytes)


def _files(log: Path) -> Iterator[Path]:
    """The log and the older ones, the newest first."""
    yield log
    number = 1
    while (older := log.with_name(f"{log.name}.{number}")).exists():
        yield older
        number += 1
