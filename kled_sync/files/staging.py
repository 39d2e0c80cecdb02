"""Stages received contents: writes them to a separate file and verifies them.

Fed by the thread that reads from the session, so that reading never waits for anything but the
disk. A large file keeps its staged part over a broken connection.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from blake3 import blake3

from kled_sync.files.chunk_store import ChunkList, ChunkStore
from kled_sync.files.chunking import CHUNK_HASH_BYTES, CHUNKED_BYTES
from kled_sync.tree.entry import TreeEntry, check_entry
from kled_sync.wire import contents
from kled_wire.errors import ProtocolError

_NEW: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OLD: Final = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
_PRIVATE: Final = 0o600
_PARTIAL: Final = b"part-"
_COPY_BYTES: Final = 1024 * 1024
_ZEROS: Final = memoryview(bytes(_COPY_BYTES))
_ENTRY_BYTES: Final = 51


@dataclass(slots=True, kw_only=True)
class StagedFile:
    """One file on its way. `done` once it is whole, or has failed: then `trouble` says so."""

    path: bytes
    # The sender's mode → the file's here.
    mode_for: Callable[[int], int] = lambda mode: mode
    name: bytes = b""
    entry: TreeEntry | None = None
    trouble: tuple[str, str] | None = None
    done: bool = False
    base: int | None = None
    # The chunks of the version that is here, by offset, where they are known.
    base_chunks: dict[int, tuple[int, bytes]] = field(default_factory=dict)
    descriptor: int | None = None
    offset: int = 0
    hasher: Any = None
    chunks: ChunkList = field(default_factory=ChunkList)

    def close(self) -> None:
        for descriptor in (self.base, self.descriptor):
            if descriptor is not None:
                os.close(descriptor)
        self.base = self.descriptor = None


def partial_name(path: bytes) -> bytes:
    """What a large file is called while it is staged: the same again after a restart."""
    return _PARTIAL + blake3(path).hexdigest()[:32].encode()


def is_partial(name: bytes) -> bool:
    return name.startswith(_PARTIAL)


class Staging:
    """The staged files of one job. Blocks; for one thread until `left` is 0."""

    def __init__(
        self, directory: int, job: int, arrivals: dict[int, StagedFile], store: ChunkStore
    ) -> None:
        self._directory, self._job, self._store = directory, job, store
        self.arrivals = arrivals
        self.left = len(arrivals)

    def feed(self, data: bytes) -> None:
        """Take a block's records. Raises ProtocolError for what no honest sender sends."""
        for record in contents.records(data):
            arrival = self.arrivals.get(record.item)
            if arrival is None or (arrival.done and arrival.trouble is None):
                raise ProtocolError("sync_record_refused", f"item {record.item} is not awaited")
            if arrival.done:
                continue  # it failed here; the rest of it was on its way already
            try:
                self._take(arrival, record)
            except OSError as exc:
                code = "no_space" if exc.errno in {28, 122} else "write_failed"
                self._finish(arrival, (code, exc.strerror or str(exc)))

    def refuse(self, trouble: tuple[str, str]) -> None:
        """Let everything fail that has not come yet."""
        for arrival in self.arrivals.values():
            if not arrival.done:
                self._finish(arrival, trouble)

    def _take(self, arrival: StagedFile, record: contents.Record) -> None:
        match record.kind:
            case contents.WHOLE:
                self._whole(arrival, record)
            case contents.CHUNKS:
                for chunk in contents.split_chunks(record.body):
                    self._write(arrival, chunk)
            case contents.COPY:
                self._copy(arrival, *contents.COPIED.unpack(record.body))
            case contents.AGAIN:
                self._rewind(arrival, 0)
            case contents.RESUME:
                self._rewind(arrival, int.from_bytes(record.body, "big"))
            case contents.END:
                self._end(arrival, check_entry(bytes(record.body)))
            case _:
                words = bytes(record.body[:500]).decode("utf-8", "replace")
                self._finish(arrival, ("read_failed", words))

    def _whole(self, arrival: StagedFile, record: contents.Record) -> None:
        entry = check_entry(bytes(record.body[:_ENTRY_BYTES]))
        data = record.body[_ENTRY_BYTES:]
        if blake3(data).digest() != entry.tail or entry.size != len(data):
            self._finish(arrival, ("damaged", "it came damaged"))
            return
        arrival.name = b"%d-%d" % (self._job, record.item)
        descriptor = os.open(arrival.name, _NEW, _PRIVATE, dir_fd=self._directory)
        try:
            _write_all(descriptor, data)
            dress(descriptor, arrival.mode_for(entry.mode), entry.mtime_ns)
        finally:
            os.close(descriptor)
        arrival.entry = entry
        self._finish(arrival, None)

    def _open(self, arrival: StagedFile) -> int:
        if arrival.descriptor is None:
            arrival.name = partial_name(arrival.path)
            with suppress(FileNotFoundError):
                os.unlink(arrival.name, dir_fd=self._directory)
            arrival.descriptor = os.open(arrival.name, _NEW, _PRIVATE, dir_fd=self._directory)
            arrival.hasher = blake3()
        return arrival.descriptor

    def _write(self, arrival: StagedFile, chunk: memoryview, *, listed: bool = True) -> None:
        descriptor = self._open(arrival)
        if chunk == _ZEROS[: len(chunk)]:
            os.lseek(descriptor, len(chunk), os.SEEK_CUR)  # a hole
        else:
            _write_all(descriptor, chunk)
        arrival.hasher.update(chunk)
        if listed:
            arrival.chunks.add(len(chunk), blake3(chunk).digest(CHUNK_HASH_BYTES))
        arrival.offset += len(chunk)

    def _copy(self, arrival: StagedFile, offset: int, length: int) -> None:
        """Several chunks in a row, each of which the base has."""
        self._open(arrival)
        if arrival.base is None or length > _COPY_BYTES:
            raise ProtocolError("sync_record_refused", "a copy of a version that is not here")
        chunk = os.pread(arrival.base, length, offset)
        if len(chunk) != length:
            self._finish(arrival, ("damaged", "the version here is not the one that was meant"))
            return
        self._write(arrival, memoryview(chunk), listed=False)
        at = offset
        while at < offset + length and (known := arrival.base_chunks.get(at)) is not None:
            arrival.chunks.add(*known)
            at += known[0]

    def _rewind(self, arrival: StagedFile, offset: int) -> None:
        """Go on behind the first `offset` bytes, which the sender knows to be right."""
        arrival.chunks = ChunkList()
        if not offset:
            descriptor = self._open(arrival)
            arrival.hasher = blake3()
        else:
            arrival.name = partial_name(arrival.path)
            descriptor = os.open(arrival.name, _OLD, dir_fd=self._directory)
            arrival.descriptor = descriptor
            arrival.hasher = hash_beginning(descriptor, offset)
        os.ftruncate(descriptor, offset)
        os.lseek(descriptor, offset, os.SEEK_SET)
        arrival.offset = offset

    def _end(self, arrival: StagedFile, entry: TreeEntry) -> None:
        descriptor = self._open(arrival)
        os.ftruncate(descriptor, arrival.offset)
        if arrival.hasher.digest() != entry.tail or entry.size != arrival.offset:
            os.ftruncate(descriptor, 0)
            self._finish(arrival, ("damaged", "it came damaged"))
            return
        if sum(length for length, _ in arrival.chunks.rows()) == entry.size >= CHUNKED_BYTES:
            self._store.save(entry.tail, arrival.chunks)
        dress(descriptor, arrival.mode_for(entry.mode), entry.mtime_ns)
        arrival.entry = entry
        self._finish(arrival, None)

    def _finish(self, arrival: StagedFile, trouble: tuple[str, str] | None) -> None:
        arrival.trouble = trouble
        arrival.done = True
        arrival.close()
        self.left -= 1


def dress(descriptor: int, mode: int, mtime_ns: int) -> None:
    """Give a staged file, which is ours alone so far, its mode and time."""
    if mode != _PRIVATE:
        os.fchmod(descriptor, mode)
    os.utime(descriptor, ns=(mtime_ns, mtime_ns))


def _write_all(descriptor: int, data: memoryview) -> None:
    written = 0
    while written < len(data):
        written += os.write(descriptor, data[written:])


def hash_beginning(descriptor: int, length: int) -> Any:
    """The hasher of a file's first `length` bytes; of fewer where it has not so many."""
    hasher, at = blake3(), 0
    while at < length and (part := os.pread(descriptor, min(_COPY_BYTES, length - at), at)):
        hasher.update(part)
        at += len(part)
    return hasher
