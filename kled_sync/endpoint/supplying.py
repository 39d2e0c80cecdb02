"""Sends the contents of files as records in blocks, one block at a time."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Generator, Iterator, Sequence
from typing import Any, Final, NamedTuple

from blake3 import blake3

from kled_sync.endpoint.holding import HeldRoot
from kled_sync.endpoint.large_file import LargeFile
from kled_sync.files.reading.chunk_store import KnownChunks
from kled_sync.files.reading.chunking import CHUNKED_BYTES
from kled_sync.files.reading.contents import CHANGING, TRIES, is_same, read_small
from kled_sync.files.reading.memory import SeenEntry, is_settled, seen_file
from kled_sync.files.root import FILE_FLAGS
from kled_sync.files.writing.large_arrival import hash_beginning, hash_more
from kled_sync.tree.entry import DIGEST_BYTES, HASHED_FILE_BYTES, TreeEntry, make_file
from kled_sync.tree.paths import check_path, join
from kled_sync.wire import contents
from kled_sync.wire.blocks import (
    BLOCK_BYTES,
    DATA,
    OutgoingBlock,
    as_it_is,
    will_shrink,
)
from kled_sync.wire.compression import CompressionWorth
from kled_sync.wire.filled import FolderItem, join_entries, parse_folder_item
from kled_sync.wire.job_stream import JobCompressor
from kled_sync.wire.messages import Numbered
from kled_wire.errors import ProtocolError

_SAMPLE_BYTES: Final = 64 * 1024
# The receiver copies the referenced data while we search for more.
_REFERENCES_MAX: Final = 4
_WORDS_MAX: Final = 200
# Read between two looks for urgent requests: some 5 ms of a processor.
_STEP_BYTES: Final = 16 * 1024 * 1024
_WHOLE_BYTES: Final = contents.HEAD_BYTES + HASHED_FILE_BYTES


class Item(NamedTuple):
    """A file to send: what the receiver has of an older version, and of this one."""

    item: int
    path: bytes
    base: bytes
    done_bytes: int
    done_digest: bytes


_ITEM_TYPES: Final = (int, bytes, bytes, int, bytes)


def parse_item(row: tuple[Any, ...]) -> Item | FolderItem:
    """Raises ProtocolError."""
    if len(row) == len(FolderItem._fields):
        return parse_folder_item(row)
    if tuple(map(type, row)) != _ITEM_TYPES or not 0 <= row[0] < 2**32:
        raise ProtocolError("sync_message_refused", "an invalid item of a supply")
    item, path, base, done, digest = row
    return Item(item, check_path(path), base, max(done, 0), digest)


class Supplier:
    """Sends one job's contents. `sent` has the entries they were, by item; `folders` those of the
    files of new directories, after the number of the first.
    """

    def __init__(
        self,
        holding: HeldRoot,
        job: int,
        items: Sequence[Item | FolderItem],
        worth: CompressionWorth,
        *,
        streams: bool,
    ) -> None:
        """`streams`: whether the receiver opens the blocks of a stream."""
        self._root, self._memory, self._store = holding.root, holding.memory, holding.context.store
        self._job, self._items, self._worth = job, items, worth
        self._compressor = JobCompressor(job, streams=streams)
        self._waiting: list[bytes | memoryview] = []
        self._waiting_bytes = 0
        self._squeeze = True
        self.sent = Numbered()
        self.folders: list[tuple[int, bytes]] = []

    def run(self) -> Iterator[OutgoingBlock | None]:
        """The blocks, one at a time; each is valid until the next. None: nothing for now."""
        for item in self._items:
            if isinstance(item, FolderItem):
                yield from self._folder(item)
                continue
            try:
                if not self._small(item):
                    yield from self._flush()
                    yield from self._opened(item)
            except OSError as exc:
                self._fail(item.item, exc.strerror or str(exc))
                self._memory.mark(item.path)
            if self._waiting_bytes >= BLOCK_BYTES:
                yield from self._flush()
        yield from self._flush()

    def _folder(self, folder: FolderItem) -> Iterator[OutgoingBlock]:
        """The small files of a directory, which nobody else asks for meanwhile.

        There are many: each is opened, read, looked at and closed, and no more is done for it.
        """
        known = self._memory.directories.children(folder.path)
        found: dict[bytes, SeenEntry] = {}
        for number, name in enumerate(folder.names, folder.first):
            try:
                what = self._file(folder.path, name, number, known.get(name))
            except OSError as exc:
                self._fail(number, exc.strerror or str(exc))
            else:
                if what is not None:
                    found[name] = what
            if self._waiting_bytes >= BLOCK_BYTES:
                yield from self._flush()
        if len(found) < len(folder.names):
            self._memory.dirty.add(folder.path)
        self._memory.fill(folder.path, found)
        entries = [what.entry if (what := found.get(name)) else None for name in folder.names]
        self.folders.append((folder.first, join_entries(entries)))

    def _file(
        self, directory: bytes, name: bytes, number: int, known: SeenEntry | None
    ) -> SeenEntry | None:
        """Send one that is as it was when it was seen; None where it was given up. Raises OSError.

        A write while it was read would show in its time of change, unless that is too young.
        """
        if known is None or not known.is_file:
            return self._changed(directory, name, number)
        size, began = known.size, time.time_ns()
        descriptor = os.open(name, FILE_FLAGS, dir_fd=self._root.directory(directory))
        try:
            data = os.read(descriptor, size + 1)
            after = os.fstat(descriptor)
        finally:
            os.close(descriptor)
        is_old = is_settled(after.st_ctime_ns, began)
        if len(data) != size or not (is_old and known.is_still(after)):
            return self._changed(directory, name, number)
        what = known.with_digest(blake3(data).digest())
        self._waiting += (contents.encode_whole(number, what.entry, size), data)
        self._waiting_bytes += _WHOLE_BYTES + size
        return what

    def _changed(self, directory: bytes, name: bytes, number: int) -> SeenEntry | None:
        """Send a file that has changed since it was seen, while it is small. Raises OSError."""
        began = time.time_ns()
        descriptor, found = self._root.open_seen(join(directory, name))
        try:
            if found.st_size < CHUNKED_BYTES:
                return self._changing(number, descriptor, found, began)
        finally:
            os.close(descriptor)
        self._fail(number, CHANGING)
        return None

    def _small(self, item: Item) -> bool:
        """Whether it is sent now: a small file that nobody wrote to meanwhile. Raises OSError.

        There are many: nothing is called for each but the system, and what hashes.
        """
        directory, name = self._root.locate(item.path)
        descriptor = os.open(name, FILE_FLAGS, dir_fd=directory)
        try:
            began = time.time_ns()
            before = os.fstat(descriptor)
            size = before.st_size
            if size >= CHUNKED_BYTES or not stat.S_ISREG(before.st_mode):
                return False
            data = os.read(descriptor, size + 1)
            after = os.fstat(descriptor)
        finally:
            os.close(descriptor)
        if len(data) != size or not is_same(before, after):
            return False
        what = seen_file(before, blake3(data).digest(), began)
        entry = what.entry
        self._waiting.append(contents.encode_whole(item.item, entry, size))
        self._waiting.append(data)
        self._waiting_bytes += contents.HEAD_BYTES + len(entry) + size
        self._note(item, what, entry)
        return True

    def _opened(self, item: Item) -> Iterator[OutgoingBlock | None]:
        """The rest: large files, and those that are being written to. Raises OSError."""
        began = time.time_ns()
        descriptor, found = self._root.open_seen(item.path)
        try:
            if found.st_size < CHUNKED_BYTES:
                what = self._changing(item.item, descriptor, found, began)
                if what is not None:
                    self._note(item, what, what.entry)
            else:
                yield from self._large(item, descriptor)
        finally:
            os.close(descriptor)

    def _changing(
        self, number: int, descriptor: int, before: os.stat_result, began: int
    ) -> SeenEntry | None:
        """Send a file that may be written to; None where that went on for too long."""
        for _ in range(TRIES):
            data = read_small(descriptor, before.st_size)
            after = os.fstat(descriptor)
            if is_same(before, after) and len(data) == before.st_size:
                what = seen_file(before, blake3(data).digest(), began)
                self._put(contents.encode_whole(number, what.entry, len(data)), data)
                return what
            os.lseek(descriptor, 0, os.SEEK_SET)
            began, before = time.time_ns(), after
        self._fail(number, CHANGING)
        return None

    def _large(self, item: Item, descriptor: int) -> Iterator[OutgoingBlock | None]:
        self._squeeze = will_shrink(os.pread(descriptor, _SAMPLE_BYTES, 0))
        for _ in range(TRIES):
            began = time.time_ns()
            before = os.fstat(descriptor)
            done = self._done_already(item, descriptor)
            if done:
                body = done.to_bytes(8, "big")
                self._put(contents.encode_record(contents.RESUME, item.item, body))
            stream = LargeFile(item.item, descriptor, before.st_size, self._base(item), done)
            for record in stream.records():
                self._put(*record)
                if len(record) > 1 or len(self._waiting) >= _REFERENCES_MAX:
                    yield from self._flush()
            what = None
            if is_same(before, os.fstat(descriptor)):
                what = seen_file(before, stream.hasher.digest(), began)
            entry = what.entry if what is not None else (yield from self._grown(stream, descriptor))
            if entry is not None:
                if entry.size >= CHUNKED_BYTES:  # as its receiver does: it may have got shorter
                    self._store.save(entry.tail, stream.chunks)
                self._put(contents.encode_record(contents.END, item.item, entry))
                self._note(item, what, entry)
                break
            self._put(contents.encode_record(contents.AGAIN, item.item, b""))
            os.lseek(descriptor, 0, os.SEEK_SET)
            item = item._replace(done_bytes=0)
        else:
            self._fail(item.item, CHANGING)
        yield from self._flush()
        self._squeeze = True

    def _grown(
        self, stream: LargeFile, descriptor: int
    ) -> Generator[OutgoingBlock | None, None, TreeEntry | None]:
        """The entry of what was read, if the file has only got longer; None where it was changed.

        So a log or a download that somebody waits for comes over while it is written: what is read
        twice alike was there at the time between. Raises OSError.
        """
        yield from self._flush()  # `stream` reads no more
        length, digest = stream.length, stream.hasher.digest()
        found = os.fstat(descriptor)
        if found.st_size < length:
            return None
        again = blake3()
        for at in range(0, length, _STEP_BYTES):
            hash_more(again, descriptor, at, min(_STEP_BYTES, length - at))
            yield None
        if again.digest() != digest:
            return None
        return make_file(found.st_mode, found.st_mtime_ns, length, digest)

    def _base(self, item: Item) -> KnownChunks:
        whole = len(item.base) == DIGEST_BYTES
        return KnownChunks(self._store.load(item.base) if whole else None)

    def _done_already(self, item: Item, descriptor: int) -> int:
        """How much of the beginning the receiver has, if that is what we would send."""
        if not 0 < item.done_bytes <= os.fstat(descriptor).st_size:
            return 0
        found = hash_beginning(descriptor, item.done_bytes).digest()
        return item.done_bytes if found == item.done_digest else 0

    def _note(self, item: Item, what: SeenEntry | None, entry: TreeEntry) -> None:
        """`what` is None where there is more in the file by now."""
        self.sent[item.item] = entry
        if what is None:
            self._memory.mark(item.path)
        else:
            self._memory.put(item.path, what)

    def _fail(self, number: int, words: str) -> None:
        body = words.encode("utf-8", "replace")[:_WORDS_MAX]
        self._put(contents.encode_record(contents.FAIL, number, body))

    def _put(self, *parts: bytes | memoryview) -> None:
        """A record, or several, in parts; a view is valid until the next block."""
        self._waiting.extend(parts)
        self._waiting_bytes += sum(map(len, parts))

    def _flush(self) -> Iterator[OutgoingBlock]:
        if not self._waiting:
            return
        parts = self._waiting
        self._waiting, self._waiting_bytes = [], 0
        if self._squeeze and self._worth.level:
            yield self._pack(b"".join(parts))
        else:
            yield as_it_is(DATA, self._job, parts, weighed=self._squeeze)

    def _pack(self, data: bytes) -> OutgoingBlock:
        began = time.monotonic()
        block = self._compressor.pack(data, self._worth.level)
        if block.flags:
            self._worth.packed(time.monotonic() - began)
        return OutgoingBlock(block.head(), [block.payload], len(data) if block.flags else 0)
