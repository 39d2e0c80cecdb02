"""Keeps versions that a sync replaced or deleted, for a time, on the side that lost them.

A version is moved here, not copied, where it is in the same filesystem and has no other name. The
log has a line for each: number, time, bytes, what became of it, and the path in base64. It is
appended to before a job is answered; a line that a crash cut is not read. A directory that was
moved has one line, with both of its paths, which is one of each file in it too.
"""

from __future__ import annotations

import base64
import os
import stat
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from kled_sync.files.attributes import copy_attributes
from kled_sync.files.root import DIRECTORY_FLAGS
from kled_sync.files.writing.copying import copy_contents
from kled_sync.tree.paths import is_below
from kled_sync.tree.tree import is_or_is_below

KEPT_S: Final = 7 * 24 * 3600
KEPT_BYTES_MAX: Final = 2 * 1024**3
_DISK_PART_MAX: Final = 0.05
# Where it is too much, this part of the limit stays: each time the whole log is written again.
_LEFT_PART: Final = 0.9
_COPY_BYTES_MAX: Final = 256 * 1024**2
MADE, REPLACED, DELETED, MOVED = "made", "replaced", "deleted", "moved"
ATTRIBUTES = "attributes"


class KeptVersion(NamedTuple):
    """One line of the log. `number` is 0 where there is no file, as for what was made."""

    number: int
    at_s: float
    path: bytes
    what: str
    size: int
    source: bytes = b""

    @property
    def paths(self) -> tuple[bytes, ...]:
        """What it is a version of: of what was moved, both of its names."""
        return (self.path, self.source) if self.what == MOVED else (self.path,)

    def of(self, path: bytes) -> KeptVersion | None:
        """What it is to `path`: itself, the move of `path` alone, or nothing."""
        if any(is_or_is_below(mine, path) for mine in self.paths):
            return self
        if self.what == MOVED:
            for mine in self.paths:
                if is_below(path, mine):
                    rest = path[len(mine) :]
                    return self._replace(path=self.path + rest, source=self.source + rest)
        return None

    def row(self) -> tuple[object, ...]:
        """As `history` is told of it."""
        return tuple(self) if self.what == MOVED else tuple(self)[:-1]


class KeptVersions:
    """A directory of old versions. Blocks; for one thread."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory = directory
        self._descriptor = os.open(directory, DIRECTORY_FLAGS)
        self._log = directory / "log"
        self._lines: list[KeptVersion] = []
        self._made: list[bytes] = []
        self.too_large: list[bytes] = []
        numbers = (int(name) for name in os.listdir(directory) if name.isdecimal())
        self._next = max(numbers, default=0) + 1
        self._bytes = self._kept_bytes()

    def close(self) -> None:
        os.close(self._descriptor)

    def note_made(self, path: bytes) -> None:
        """`path` is new: to undo that it is to be taken away."""
        self._made.append(path)

    def note_moved(self, source: bytes, path: bytes) -> None:
        """What was at `source` is at `path` now, of a directory with all in it."""
        self.save()  # what was made before that, to be undone after it
        self._lines.append(KeptVersion(0, time.time(), path, MOVED, 0, source))

    def _count(self, version: KeptVersion) -> None:
        self._lines.append(version)
        self._bytes += version.size if version.number else 0

    def take(self, directory: int, name: bytes, path: bytes, what: str) -> None:
        """Keep the file or link `name`, which was at `path`, and take it away there."""
        number, self._next = self._next, self._next + 1
        found = os.stat(name, dir_fd=directory, follow_symlinks=False)
        size = found.st_size
        if size > self.limit():
            self.too_large.append(path)
            os.unlink(name, dir_fd=directory)
            return
        # Through its other names it would change where it is kept, too.
        is_linked = stat.S_ISREG(found.st_mode) and found.st_nlink > 1
        copied = self._copied(directory, name, number, found) if is_linked else 0
        if copied or not self._moved(directory, name, number):
            number = copied or self._copied(directory, name, number, found)
            if not number:
                self.too_large.append(path)
            os.unlink(name, dir_fd=directory)
        self._count(KeptVersion(number, time.time(), path, what, size))

    def _moved(self, directory: int, name: bytes, number: int) -> bool:
        try:
            os.rename(name, str(number), src_dir_fd=directory, dst_dir_fd=self._descriptor)
        except OSError:
            return False
        return True

    def keep(self, path: bytes, attributes: bytes) -> None:
        """Keep what `path` had of attributes, which are about to be changed."""
        number, self._next = self._next, self._next + 1
        with suppress(OSError):  # a full store never stops a sync
            (self._directory / str(number)).write_bytes(attributes)
            at_s = time.time()
            self._count(KeptVersion(number, at_s, path, ATTRIBUTES, len(attributes)))

    def read(self, version: KeptVersion) -> bytes:
        """What `keep` was given; nothing where it has gone."""
        with suppress(OSError):
            return (self._directory / str(version.number)).read_bytes()
        return b""

    def _copied(self, directory: int, name: bytes, number: int, found: os.stat_result) -> int:
        """`number`; 0 where there is no room for it: a full store never stops a sync."""
        try:
            return self._copy(directory, name, number, found)
        except OSError:
            with suppress(OSError):
                os.unlink(str(number), dir_fd=self._descriptor)
            return 0

    def _copy(self, directory: int, name: bytes, number: int, found: os.stat_result) -> int:
        """From another filesystem; 0 where it is too large for that. Raises OSError."""
        if found.st_size > _COPY_BYTES_MAX:
            return 0
        if stat.S_ISLNK(found.st_mode):
            target = os.readlink(name, dir_fd=directory)
            os.symlink(target, str(number), dir_fd=self._descriptor)
            return number
        source = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=directory)
        with os.fdopen(source, "rb"), (self._directory / str(number)).open("wb") as out:
            copy_contents(source, out.fileno())
            copy_attributes(source, out.fileno())
        os.utime(self._directory / str(number), ns=(found.st_atime_ns, found.st_mtime_ns))
        return number

    def limit(self) -> int:
        """How many bytes may be kept at all."""
        disk = os.fstatvfs(self._descriptor)
        return min(KEPT_BYTES_MAX, int(disk.f_blocks * disk.f_frsize * _DISK_PART_MAX))

    def save(self) -> None:
        """Write the log. A store that is full costs old versions, never a sync."""
        if not (self._lines or self._made):
            return
        # What was made has no other time than that of its job.
        made = f"0 {time.time():.6f} 0 {MADE} "
        text = "".join(map(_line, self._lines)) + "".join(
            f"{made}{base64.b64encode(path).decode()}\n" for path in self._made
        )
        self._lines.clear()
        self._made.clear()
        with suppress(OSError), self._log.open("a", encoding="utf-8") as log:
            log.write(text)

    def versions(self) -> list[KeptVersion]:
        """All lines, oldest first."""
        self.save()
        try:
            text = self._log.read_text("utf-8", "replace")
        except FileNotFoundError:
            return []
        found = []
        for line in text.splitlines():
            with suppress(ValueError):
                found.append(_parse(line))
        return found

    def of(self, path: bytes) -> list[KeptVersion]:
        """The versions of `path` and of what is below it, oldest first.

        Also under its earlier names.
        """
        return _of(path, self.versions())

    def tidy(self) -> None:
        """Write the log after a job, and let go of the oldest where it is too much now."""
        self.save()
        if self._bytes > self.limit():
            self.prune(time.time(), part=_LEFT_PART)

    def prune(self, now_s: float, *, part: float = 1.0) -> None:
        """Let go of what is too old, then of the oldest while it is more than `part` of the limit.

        Raises OSError.
        """
        self.save()
        if not self._has_old(now_s) and self._bytes <= self.limit():
            return  # a long log is read only where something may go
        versions = self.versions()
        keep: list[KeptVersion] = []
        newest = next((version.size for version in reversed(versions) if version.number), 0)
        left = max(self.limit() * part, min(newest, self.limit()))
        for version in reversed(versions):
            left -= version.size if version.number else 0
            if version.at_s < now_s - KEPT_S or left < 0:
                self._unlink(version)
            else:
                keep.append(version)
        if len(keep) != len(versions):
            self._rewrite(keep[::-1])
        self._bytes = self._kept_bytes()

    def _has_old(self, now_s: float) -> bool:
        """Whether the oldest line, which is the first, is too old, or cannot be read."""
        try:
            with self._log.open(encoding="utf-8", errors="replace") as log:
                return _parse(log.readline().rstrip("\n")).at_s < now_s - KEPT_S
        except FileNotFoundError:
            return False
        except ValueError:
            return True

    def _kept_bytes(self) -> int:
        with os.scandir(self._descriptor) as found:
            return sum(
                one.stat(follow_symlinks=False).st_size for one in found if one.name.isdecimal()
            )

    def purge(self, path: bytes) -> list[bytes]:
        """Let go of every version of `path` and below it; the paths of those."""
        versions = self.versions()
        gone = set(_of(path, versions))
        for version in gone:
            self._unlink(version)
        self._rewrite([v for v in versions if v not in gone])
        self._bytes = self._kept_bytes()
        return sorted({v.path for v in gone if v.number})

    def place(self, version: KeptVersion) -> tuple[int, bytes]:
        """Where the file of a version is."""
        return self._descriptor, str(version.number).encode()

    def _unlink(self, version: KeptVersion) -> None:
        if version.number:
            with suppress(FileNotFoundError):
                os.unlink(str(version.number), dir_fd=self._descriptor)

    def _rewrite(self, versions: list[KeptVersion]) -> None:
        temporary = self._log.with_suffix(".tmp")
        temporary.write_text("".join(map(_line, versions)), "utf-8")
        temporary.replace(self._log)


def _of(path: bytes, versions: Sequence[KeptVersion]) -> list[KeptVersion]:
    found: list[KeptVersion] = []
    names = {path: None}  # in order
    for version in reversed(versions):
        mine = next(filter(None, map(version.of, names)), None)
        if mine is not None:
            found.append(mine)
            if mine.what == MOVED and mine.path in names:
                names[mine.source] = None
    return found[::-1]


def _line(version: KeptVersion) -> str:
    paths = " ".join(base64.b64encode(path).decode() for path in version.paths)
    return f"{version.number} {version.at_s:.6f} {version.size} {version.what} {paths}\n"


def _parse(line: str) -> KeptVersion:
    """Raises ValueError."""
    number, at_s, size, what, *paths = line.split(" ")
    path, *source = map(base64.b64decode, paths)
    if len(source) != (what == MOVED):
        raise ValueError(line)
    return KeptVersion(int(number), float(at_s), path, what, int(size), *source)
