"""Stages received contents: writes them to a separate file and verifies them.

Fed by the thread that reads from the session, so that reading never waits for anything but the
disk. A large file keeps its staged part over a broken connection.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final, NamedTuple

from blake3 import blake3

from kled_sync.files.reading.chunk_store import ChunkStore
from kled_sync.files.reading.memory import SeenEntry, placed_file
from kled_sync.files.writing.large_arrival import PRIVATE, LargeArrival, write_all
from kled_sync.tree.entry import TreeEntry, check_entry
from kled_sync.wire import contents
from kled_wire.errors import ProtocolError

_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_ENTRY_BYTES: Final = 51
_ALL: Final = 0o777
# The sender's mode, and that of the file that is there, if one is → the file's here.
ModeFor = Callable[[int, int | None], int]


class StagingPlace(NamedTuple):
    """Where a job stages, and the umask there."""

    directory: int
    job: int
    umask: int


class StagedFile:
    """One file on its way. `done` once it is whole, or has failed: then `trouble` says so."""

    __slots__ = ("done", "entry", "large", "name", "present", "seen", "trouble")

    def __init__(self, present: int | None, name: bytes) -> None:
        """`present` is the mode of what it replaces; `name` is for it in a directory built here."""
        self.present = present
        self.name = name
        # How it is in such a directory: it will not be touched again.
        self.seen: SeenEntry | None = None
        # Of a file that comes in chunks alone: most are small, and there are many.
        self.large: LargeArrival | None = None
        self.entry: TreeEntry | None = None
        self.trouble: tuple[str, str] | None = None
        self.done = False

    def close(self) -> None:
        if self.large is not None:
            self.large.close()


class Staging:
    """The staged files of one job. Blocks; for one thread until `left` is 0."""

    def __init__(
        self,
        place: StagingPlace,
        arrivals: dict[int, StagedFile],
        *,
        store: ChunkStore,
        mode_for: ModeFor,
        large: Callable[[int], LargeArrival],
    ) -> None:
        """`large` begins the arrival of an item that comes in chunks."""
        self._directory, self._job, self._umask = place
        self._store, self._mode_for, self._large = store, mode_for, large
        self.arrivals = arrivals
        self.left = len(arrivals)

    def feed(self, data: bytes | memoryview) -> None:
        """Take a block's records. Raises ProtocolError for what no honest sender sends."""
        for record in contents.records(data):
            arrival = self.arrivals.get(record.item)
            if arrival is None or (arrival.done and arrival.trouble is None):
                raise ProtocolError("sync_record_refused", f"item {record.item} is not awaited")
            if arrival.done:
                continue  # it failed here; the rest of it was on its way already
            try:
                if record.kind == contents.WHOLE:
                    self._whole(arrival, record)
                elif record.kind == contents.FAIL:
                    words = bytes(record.body[:500]).decode("utf-8", "replace")
                    self._finish(arrival, ("read_failed", words))
                else:
                    self._part(arrival, record)
            except OSError as exc:
                code = "no_space" if exc.errno in {28, 122} else "write_failed"
                self._finish(arrival, (code, exc.strerror or str(exc)))

    def refuse(self, trouble: tuple[str, str]) -> None:
        """Let everything fail that has not come yet."""
        for arrival in self.arrivals.values():
            if not arrival.done:
                self._finish(arrival, trouble)

    def _whole(self, arrival: StagedFile, record: contents.Record) -> None:
        entry = check_entry(bytes(record.body[:_ENTRY_BYTES]))
        data = record.body[_ENTRY_BYTES:]
        if blake3(data).digest() != entry.tail or entry.size != len(data):
            self._finish(arrival, _DAMAGED)
            return
        built = bool(arrival.name)
        if not built:
            arrival.name = b"%d-%d" % (self._job, record.item)
        mode = self._mode_for(entry.mode, arrival.present)
        descriptor = os.open(arrival.name, _NEW, mode & _ALL, dir_fd=self._directory)
        try:
            if data:
                write_all(descriptor, data)
            dress(descriptor, mode, entry.mtime_ns, created=mode & _ALL & ~self._umask)
            if built:
                arrival.seen = placed_file(os.fstat(descriptor), entry)
        except OSError:
            os.unlink(arrival.name, dir_fd=self._directory)
            raise
        finally:
            os.close(descriptor)
        arrival.entry = entry
        self._finish(arrival, None)

    def _part(self, arrival: StagedFile, record: contents.Record) -> None:
        if arrival.large is None:
            arrival.large = self._large(record.item)
            arrival.name = arrival.large.name
        large = arrival.large
        match record.kind:
            case contents.CHUNKS:
                large.write(*contents.split_chunks(record.body))
            case contents.COPY:
                if not large.copy(*contents.COPIED.unpack(record.body)):
                    self._finish(arrival, _ANOTHER_BASE)
            case contents.AGAIN:
                large.rewind(0)
            case contents.RESUME:
                large.rewind(int.from_bytes(record.body, "big"))
            case _:
                self._end(arrival, large, check_entry(bytes(record.body)))

    def _end(self, arrival: StagedFile, large: LargeArrival, entry: TreeEntry) -> None:
        if not large.end(entry, self._store):
            self._finish(arrival, _DAMAGED)
            return
        dress(large.open(), self._mode_for(entry.mode, arrival.present), entry.mtime_ns)
        arrival.entry = entry
        self._finish(arrival, None)

    def _finish(self, arrival: StagedFile, trouble: tuple[str, str] | None) -> None:
        arrival.trouble = trouble
        arrival.done = True
        arrival.close()
        self.left -= 1


def dress(descriptor: int, mode: int, mtime_ns: int, *, created: int = PRIVATE) -> None:
    """Give a staged file, which has the mode `created` so far, its mode and time."""
    if mode != created:
        os.fchmod(descriptor, mode)
    os.utime(descriptor, ns=(mtime_ns, mtime_ns))


_DAMAGED: Final = ("damaged", "it came damaged")
_ANOTHER_BASE: Final = ("damaged", "the version here is not the one that was meant")
