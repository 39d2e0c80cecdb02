"""The small files of a new directory that is built apart: written there, verified, remembered.

There are many: nothing is made for each but what is remembered of it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from blake3 import blake3

from kled_sync.files.reading.memory import SeenEntry, placed_file
from kled_sync.files.writing.large_arrival import PRIVATE, write_all
from kled_sync.files.writing.refusal import DAMAGED, READ_FAILED, trouble_of
from kled_sync.tree.entry import HASHED_FILE_BYTES, TreeEntry, check_entry
from kled_sync.wire import contents
from kled_wire.errors import ProtocolError

_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_ALL: Final = 0o777
_WORDS_BYTES: Final = 500
# The sender's mode and the mode of the replaced file, if any → the mode of the file here.
ModeFor = Callable[[int, int | None], int]


class StagingPlace(NamedTuple):
    """Where a job stages, and the umask there."""

    directory: int
    job: int
    umask: int


class Filling:
    """Receives the files of one directory. Blocks; one thread has it until `left` is 0."""

    def __init__(self, first: int, names: Sequence[bytes], staged: bytes) -> None:
        """`first` is the number of the first file, `staged` what the directory is called."""
        self._first, self._names, self._above = first, names, staged + b"/"
        self._seen: list[SeenEntry | None] = [None] * len(names)
        # By the sender's, the modes here: most are the same.
        self._modes: dict[int, int] = {}
        # By number, why a file did not come.
        self.troubles: dict[int, tuple[str, str]] = {}
        self.left = len(names)

    @property
    def numbers(self) -> range:
        """The numbers of its files."""
        return range(self._first, self._first + len(self._names))

    def take(self, record: contents.Record, place: StagingPlace, mode_for: ModeFor) -> None:
        """Take the record of one file, whole or failed. Raises ProtocolError for any other."""
        number = record.item
        at = number - self._first
        if self._seen[at] is not None or number in self.troubles:
            raise ProtocolError("sync_record_refused", f"item {number} is not awaited")
        if record.kind == contents.WHOLE:
            trouble = self._whole(at, record.body, place, mode_for)
        elif record.kind == contents.FAIL:
            trouble = words_of(record.body)
        else:
            raise ProtocolError("sync_record_refused", f"item {number} is no small file")
        if trouble is not None:
            self.troubles[number] = trouble
        self.left -= 1

    def _whole(
        self, at: int, body: memoryview, place: StagingPlace, mode_for: ModeFor
    ) -> tuple[str, str] | None:
        """Why it could not be written; None where it was."""
        entry = read_whole(body)
        if entry is None:
            return DAMAGED
        mode = self._modes.get(entry.mode)
        if mode is None:
            mode = self._modes[entry.mode] = mode_for(entry.mode, None)
        try:
            found = write_whole(self._above + self._names[at], body, entry.mtime_ns, mode, place)
        except OSError as exc:
            return trouble_of(exc)
        self._seen[at] = placed_file(found, entry)
        return None

    def refuse(self, trouble: tuple[str, str]) -> None:
        """Fail every file that has not come yet, for the reason `trouble`."""
        for number, seen in zip(self.numbers, self._seen, strict=True):
            if seen is None:
                self.troubles.setdefault(number, trouble)
        self.left = 0

    def came(self) -> dict[bytes, SeenEntry]:
        """The files that came, by name."""
        pairs = zip(self._names, self._seen, strict=True)
        return {name: seen for name, seen in pairs if seen is not None}

    def each(self) -> Iterator[tuple[int, bytes, bytes, TreeEntry]]:
        """For each file that came: number, name, name below the staging folder, and entry."""
        for number, name, seen in zip(self.numbers, self._names, self._seen, strict=True):
            if seen is not None:
                yield number, name, self._above + name, seen.entry


def read_whole(body: memoryview) -> TreeEntry | None:
    """The entry of a whole file; None where its content is damaged. Raises ProtocolError."""
    entry = check_entry(bytes(body[:HASHED_FILE_BYTES]))
    if blake3(body[HASHED_FILE_BYTES:]).digest() != entry.tail:
        return None
    return entry if entry.size == len(body) - HASHED_FILE_BYTES else None


def write_whole(
    name: bytes, body: memoryview, mtime_ns: int, mode: int, place: StagingPlace
) -> os.stat_result:
    """Write a new file that `read_whole` has checked. Raises OSError, and leaves no file then."""
    descriptor = os.open(name, _NEW, mode & _ALL, dir_fd=place.directory)
    try:
        data = body[HASHED_FILE_BYTES:]
        if data:
            write_all(descriptor, data)
        dress(descriptor, mode, mtime_ns, created=mode & _ALL & ~place.umask)
        return os.fstat(descriptor)
    except OSError:
        os.unlink(name, dir_fd=place.directory)
        raise
    finally:
        os.close(descriptor)


def dress(descriptor: int, mode: int, mtime_ns: int, *, created: int = PRIVATE) -> None:
    """Give a staged file, which has the mode `created` so far, its mode and time."""
    if mode != created:
        os.fchmod(descriptor, mode)
    os.utime(descriptor, ns=(mtime_ns, mtime_ns))


def words_of(body: memoryview) -> tuple[str, str]:
    """Why the sender gave a file up."""
    return READ_FAILED, bytes(body[:_WORDS_BYTES]).decode("utf-8", "replace")
