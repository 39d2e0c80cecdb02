"""Stages received contents: writes them to a separate file and verifies them.

Fed by the thread that reads from the session, so that reading never waits for anything but the
disk. A large file keeps its staged part over a broken connection.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from kled_sync.files.reading.chunk_store import ChunkStore
from kled_sync.files.writing.filling import (
    Filling,
    ModeFor,
    StagingPlace,
    dress,
    read_whole,
    words_of,
    write_whole,
)
from kled_sync.files.writing.large_arrival import LargeArrival
from kled_sync.files.writing.refusal import DAMAGED, trouble_of
from kled_sync.tree.entry import TreeEntry, check_entry
from kled_sync.wire import contents
from kled_wire.errors import ProtocolError


class StagedFile:
    """One file on its way. `done` once it is whole, or has failed: then `trouble` says so."""

    __slots__ = ("done", "entry", "large", "name", "present", "trouble")

    def __init__(self, present: int | None) -> None:
        """`present` is the mode of what it replaces."""
        self.present = present
        self.name = b""
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
        fillings: Sequence[Filling],
        *,
        store: ChunkStore,
        mode_for: ModeFor,
        large: Callable[[int], LargeArrival],
    ) -> None:
        """`large` begins the arrival of an item that comes in chunks."""
        self._place = place
        self._store, self._mode_for, self._large = store, mode_for, large
        self.arrivals = arrivals
        self._fillings = {number: f for f in fillings for number in f.numbers}
        self.left = len(arrivals) + len(self._fillings)
        # Whether one was given up here before all of it had come.
        self.is_cut = False

    def feed(self, data: bytes | memoryview) -> None:
        """Take a block's records. Raises ProtocolError for what no honest sender sends."""
        for record in contents.records(data):
            filling = self._fillings.get(record.item)
            if filling is not None:
                filling.take(record, self._place, self._mode_for)
                self.left -= 1
                continue
            arrival = self.arrivals.get(record.item)
            if arrival is None or (arrival.done and arrival.trouble is None):
                raise ProtocolError("sync_record_refused", f"item {record.item} is not awaited")
            if arrival.done:
                continue  # it failed here; the rest of it was on its way already
            try:
                if record.kind == contents.WHOLE:
                    self._whole(arrival, record)
                elif record.kind == contents.FAIL:
                    self._finish(arrival, words_of(record.body))
                else:
                    self._part(arrival, record)
            except OSError as exc:
                self.is_cut = True
                self._finish(arrival, trouble_of(exc))

    def refuse(self, trouble: tuple[str, str]) -> None:
        """Let everything fail that has not come yet."""
        for arrival in self.arrivals.values():
            if not arrival.done:
                self._finish(arrival, trouble)
        for filling in set(self._fillings.values()):
            self.left -= filling.left
            filling.refuse(trouble)

    def _whole(self, arrival: StagedFile, record: contents.Record) -> None:
        entry = read_whole(record.body)
        if entry is None:
            self._finish(arrival, DAMAGED)
            return
        arrival.name = b"%d-%d" % (self._place.job, record.item)
        mode = self._mode_for(entry.mode, arrival.present)
        write_whole(arrival.name, record.body, entry.mtime_ns, mode, self._place)
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
                    self.is_cut = True
                    self._finish(arrival, _ANOTHER_BASE)
            case contents.AGAIN:
                large.rewind(0)
            case contents.RESUME:
                large.rewind(int.from_bytes(record.body, "big"))
            case _:
                self._end(arrival, large, check_entry(bytes(record.body)))

    def _end(self, arrival: StagedFile, large: LargeArrival, entry: TreeEntry) -> None:
        if not large.end(entry, self._store):
            self._finish(arrival, DAMAGED)
            return
        dress(large.open(), self._mode_for(entry.mode, arrival.present), entry.mtime_ns)
        arrival.entry = entry
        self._finish(arrival, None)

    def _finish(self, arrival: StagedFile, trouble: tuple[str, str] | None) -> None:
        arrival.trouble = trouble
        arrival.done = True
        arrival.close()
        self.left -= 1


_ANOTHER_BASE: Final = ("damaged", "the version here is not the one that was meant")
