"""A large file while it arrives: chunks, and references to the version that is here, to one file.

Its staged part has a name of the path's, so that it is found again after a broken connection.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Final

from blake3 import blake3

from kled_sync.files.reading.chunk_store import ChunkList, ChunkStore
from kled_sync.files.reading.chunking import CHUNKED_BYTES
from kled_sync.files.writing.room import check_room
from kled_sync.tree.entry import TreeEntry
from kled_wire.errors import ProtocolError

_NEW: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OLD: Final = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
# The mode of what is staged, until it is whole.
PRIVATE: Final = 0o600
_PARTIAL: Final = b"part-"
_COPY_BYTES: Final = 1024 * 1024
# The system takes no other offset (off_t); no file is so large.
_OFFSET_MAX: Final = 2**63 - 1
_ZEROS: Final = bytes(_COPY_BYTES)


def partial_name(path: bytes) -> bytes:
    """What a large file is called while it is staged: the same again after a restart."""
    return _PARTIAL + blake3(path).hexdigest()[:32].encode()


def is_partial(name: bytes) -> bool:
    return name.startswith(_PARTIAL)


def hash_beginning(descriptor: int, length: int) -> blake3:
    """The hasher of a file's first `length` bytes; of fewer where it has not so many."""
    hasher = blake3()
    hash_more(hasher, descriptor, 0, length)
    return hasher


def hash_more(hasher: blake3, descriptor: int, offset: int, length: int) -> None:
    """Feed it the file's `length` bytes from `offset` on; fewer where it has not so many."""
    at, end = offset, offset + length
    while at < end and (part := os.pread(descriptor, min(_COPY_BYTES, end - at), at)):
        hasher.update(part)
        at += len(part)


def write_all(descriptor: int, data: memoryview) -> None:
    """Raises OSError."""
    while data:
        data = data[os.write(descriptor, data) :]


class LargeArrival:
    """One file in the staging folder `directory`. Blocks; for one thread. Raises OSError."""

    def __init__(self, directory: int, path: bytes) -> None:
        self._directory = directory
        self.name = partial_name(path)
        # The version that is here, and its chunks by offset where they are known.
        self.base: int | None = None
        self.base_chunks: dict[int, tuple[int, bytes]] = {}
        self._descriptor: int | None = None
        self._offset = 0
        self._hasher = blake3()
        self._chunks = ChunkList()
        # The buffer of copies, used again and again: no memory is allocated for each.
        self._copied = memoryview(b"")

    def close(self) -> None:
        for descriptor in (self.base, self._descriptor):
            if descriptor is not None:
                os.close(descriptor)
        self.base = self._descriptor = None

    def open(self) -> int:
        """The descriptor of the staged part: begun anew unless `rewind` found one."""
        if self._descriptor is None:
            with suppress(FileNotFoundError):
                os.unlink(self.name, dir_fd=self._directory)
            self._descriptor = os.open(self.name, _NEW, PRIVATE, dir_fd=self._directory)
        return self._descriptor

    def write(self, chunks: list[tuple[int, bytes]], data: memoryview) -> None:
        """`chunks` are the lengths and hashes of those that `data` is.

        They are believed: a list that is wrong costs one transfer, the file is hashed as a whole.
        """
        check_room(self._directory)  # a file that grows becomes more than was said of it
        descriptor = self.open()
        written = at = 0
        for length, digest in chunks:
            self._chunks.add(length, digest)
            end = at + length
            if length and data[at] == 0 and bytes(data[at:end]) == _ZEROS[:length]:
                write_all(descriptor, data[written:at])
                os.lseek(descriptor, length, os.SEEK_CUR)  # a hole
                written = end
            at = end
        write_all(descriptor, data[written:])
        self._hasher.update(data)
        self._offset += len(data)

    def copy(self, offset: int, length: int) -> bool:
        """Several chunks in a row, each of which the base has; false where it is another one, or
        has gone.

        Raises ProtocolError("sync_record_refused").
        """
        self.open()
        if length > _COPY_BYTES or offset > _OFFSET_MAX:
            raise ProtocolError("sync_record_refused", "a copy of a part that no version has")
        if self.base is None:
            return False
        if not self._copied:
            self._copied = memoryview(bytearray(_COPY_BYTES))
        chunk = self._copied[:length]
        if os.preadv(self.base, [chunk], offset) != length:
            return False
        known = []
        at = offset
        while at < offset + length and (row := self.base_chunks.get(at)) is not None:
            known.append(row)
            at += row[0]
        self.write(known, chunk)
        return True

    def rewind(self, offset: int) -> None:
        """Go on behind the first `offset` bytes, which the sender knows to be right.

        Raises ProtocolError("sync_record_refused").
        """
        if offset > _OFFSET_MAX:
            raise ProtocolError("sync_record_refused", "a file that goes on where none can")
        self._chunks = ChunkList()
        if not offset:
            descriptor = self.open()
            self._hasher = blake3()
        else:
            descriptor = os.open(self.name, _OLD, dir_fd=self._directory)
            self._descriptor = descriptor
            self._hasher = hash_beginning(descriptor, offset)
        os.ftruncate(descriptor, offset)
        os.lseek(descriptor, offset, os.SEEK_SET)
        self._offset = offset

    def end(self, entry: TreeEntry, store: ChunkStore) -> bool:
        """Whether it is `entry`, and so is whole; `store` gets its chunks."""
        descriptor = self.open()
        os.ftruncate(descriptor, self._offset)
        if self._hasher.digest() != entry.tail or entry.size != self._offset:
            os.ftruncate(descriptor, 0)
            return False
        if sum(length for length, _ in self._chunks.rows()) == entry.size >= CHUNKED_BYTES:
            store.save(entry.tail, self._chunks)
        return True
