"""Sends the contents of files as records in blocks, one block at a time."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Final, NamedTuple

from blake3 import blake3

from kled_sync.files.chunk_store import ChunkList, ChunkStore
from kled_sync.files.chunking import CHUNKED_BYTES, chunks_of
from kled_sync.files.memory import Memory, SeenEntry, seen_file
from kled_sync.files.reading import CHANGING, TRIES, is_same, read_small
from kled_sync.files.root import Root
from kled_sync.files.staging import hash_beginning
from kled_sync.tree.entry import DIGEST_BYTES, TreeEntry
from kled_sync.tree.paths import check_path
from kled_sync.wire import contents
from kled_sync.wire.blocks import BLOCK_BYTES, DATA, Packer, WireBlock, will_shrink
from kled_wire.errors import ProtocolError

_SAMPLE_BYTES: Final = 64 * 1024
_COPIED_BYTES_MAX: Final = 1024 * 1024
_WORDS_MAX: Final = 200


class Item(NamedTuple):
    """A file to send: what the receiver has of an older version, and of this one."""

    item: int
    path: bytes
    base: bytes
    done_bytes: int
    done_digest: bytes


def parse_item(row: tuple[object, ...]) -> Item:
    """Raises ProtocolError."""
    match row:
        case (int(item), path, bytes(base), int(done), bytes(digest)) if 0 <= item < 2**32:
            return Item(item, check_path(path), base, max(done, 0), digest)
    raise ProtocolError("sync_message_refused", "an item of a supply that is none")


class Supplier:
    """Sends one job's contents. `sent` has the entries they were, by item."""

    def __init__(
        self, root: Root, memory: Memory, store: ChunkStore, job: int, items: list[Item]
    ) -> None:
        self._root, self._memory, self._store = root, memory, store
        self._job, self._items = job, items
        self._packer = Packer()
        self._buffer = bytearray()
        self._squeeze = True
        self.sent: dict[int, TreeEntry] = {}

    def run(self) -> Iterator[WireBlock]:
        """The blocks, one at a time."""
        for item in self._items:
            try:
                descriptor = self._root.open_file(item.path)
            except OSError as exc:
                yield from self._put(_failure(item, exc.strerror or str(exc)))
                self._memory.mark(item.path)
                continue
            try:
                yield from self._file(item, descriptor)
            except OSError as exc:
                yield from self._put(_failure(item, exc.strerror or str(exc)))
            finally:
                os.close(descriptor)
        yield from self._flush()

    def _file(self, item: Item, descriptor: int) -> Iterator[WireBlock]:
        if os.fstat(descriptor).st_size < CHUNKED_BYTES:
            yield from self._small(item, descriptor)
        else:
            yield from self._large(item, descriptor)

    def _small(self, item: Item, descriptor: int) -> Iterator[WireBlock]:
        for _ in range(TRIES):
            began = time.time_ns()
            before = os.fstat(descriptor)
            data = read_small(descriptor, before.st_size)
            if is_same(before, os.fstat(descriptor)) and len(data) == before.st_size:
                what = seen_file(before, blake3(data).digest(), began)
                body = what.entry + data
                yield from self._put(contents.encode_record(contents.WHOLE, item.item, body))
                self._note(item, what)
                return
            os.lseek(descriptor, 0, os.SEEK_SET)
        yield from self._put(_failure(item, CHANGING))

    def _large(self, item: Item, descriptor: int) -> Iterator[WireBlock]:
        yield from self._flush()
        self._squeeze = will_shrink(os.pread(descriptor, _SAMPLE_BYTES, 0))
        for _ in range(TRIES):
            began = time.time_ns()
            before = os.fstat(descriptor)
            done = self._done_already(item, descriptor)
            if done:
                body = done.to_bytes(8, "big")
                yield from self._put(contents.encode_record(contents.RESUME, item.item, body))
            stream = _LargeFile(item.item, descriptor, before.st_size, self._base(item), done)
            for record in stream.records():
                yield from self._put(record)
            if is_same(before, os.fstat(descriptor)):
                what = seen_file(before, stream.hasher.digest(), began)
                self._store.save(what.entry.tail, stream.chunks)
                yield from self._put(contents.encode_record(contents.END, item.item, what.entry))
                self._note(item, what)
                break
            yield from self._put(contents.encode_record(contents.AGAIN, item.item, b""))
            os.lseek(descriptor, 0, os.SEEK_SET)
            item = item._replace(done_bytes=0)
        else:
            yield from self._put(_failure(item, CHANGING))
        yield from self._flush()
        self._squeeze = True

    def _base(self, item: Item) -> dict[bytes, tuple[int, int]]:
        chunks = self._store.load(item.base) if len(item.base) == DIGEST_BYTES else None
        return chunks.places() if chunks is not None else {}

    def _done_already(self, item: Item, descriptor: int) -> int:
        """How much of the beginning the receiver has, if that is what we would send."""
        if not 0 < item.done_bytes <= os.fstat(descriptor).st_size:
            return 0
        found = hash_beginning(descriptor, item.done_bytes).digest()
        return item.done_bytes if found == item.done_digest else 0

    def _note(self, item: Item, what: SeenEntry) -> None:
        self.sent[item.item] = what.entry
        self._memory.put(item.path, what)

    def _put(self, record: bytes) -> Iterator[WireBlock]:
        if len(record) >= BLOCK_BYTES and not self._buffer:
            yield self._packer.pack(DATA, self._job, record, squeeze=self._squeeze)
            return
        self._buffer += record
        if len(self._buffer) >= BLOCK_BYTES:
            yield from self._flush()

    def _flush(self) -> Iterator[WireBlock]:
        if self._buffer:
            data = bytes(self._buffer)
            self._buffer.clear()
            yield self._packer.pack(DATA, self._job, data, squeeze=self._squeeze)


class _LargeFile:
    """The records of a large file between what the receiver has and the end."""

    def __init__(
        self,
        item: int,
        descriptor: int,
        size: int,
        base: dict[bytes, tuple[int, int]],
        done: int,
    ) -> None:
        self._item, self._descriptor, self._size = item, descriptor, size
        self._base, self._done = base, done
        self._new: list[bytes] = []
        self._new_bytes = 0
        self._run: tuple[int, int] | None = None
        self.hasher = blake3()
        self.chunks = ChunkList()

    def records(self) -> Iterator[bytes]:
        for chunk in chunks_of(self._descriptor, self._size):
            self.hasher.update(chunk.data)
            self.chunks.add(chunk.length, chunk.hash)
            if chunk.offset + chunk.length <= self._done:
                continue
            whole = chunk.offset >= self._done
            place = self._base.get(chunk.hash) if whole else None
            if place is not None:
                yield from self._refer(place)
            else:
                yield from self._give(chunk.data[max(0, self._done - chunk.offset) :])
        yield from self._refer(None)

    def _refer(self, place: tuple[int, int] | None) -> Iterator[bytes]:
        """To what the receiver has, in runs; what was collected until now goes before it."""
        if self._new:
            yield contents.encode_chunks(self._item, self._new)
            self._new, self._new_bytes = [], 0
        run = self._run
        if run is not None and place is not None and _continues(run, place):
            self._run = (run[0], run[1] + place[1])
            return
        if run is not None:
            yield self._copy(run)
        self._run = place

    def _give(self, data: memoryview) -> Iterator[bytes]:
        if self._run is not None:
            yield self._copy(self._run)
            self._run = None
        self._new.append(bytes(data))
        self._new_bytes += len(data)
        if self._new_bytes >= BLOCK_BYTES:
            yield contents.encode_chunks(self._item, self._new)
            self._new, self._new_bytes = [], 0

    def _copy(self, place: tuple[int, int]) -> bytes:
        return contents.encode_record(contents.COPY, self._item, contents.COPIED.pack(*place))


def _continues(run: tuple[int, int], place: tuple[int, int]) -> bool:
    return run[0] + run[1] == place[0] and run[1] + place[1] <= _COPIED_BYTES_MAX


def _failure(item: Item, words: str) -> bytes:
    body = words.encode("utf-8", "replace")[:_WORDS_MAX]
    return contents.encode_record(contents.FAIL, item.item, body)
