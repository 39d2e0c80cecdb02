"""The records of a large file: references to what the receiver has, and chunks that are new."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from blake3 import blake3

from kled_sync.files.reading.chunk_store import ChunkList, KnownChunks
from kled_sync.files.reading.chunking import Chunk, chunks_of
from kled_sync.wire import contents

# How many bytes of new chunks one block has: an endpoint checks for urgent requests after each
# block, and in the session's process each block takes as long as to copy half of it.
_NEW_BYTES: Final = 512 * 1024
_COPIED_BYTES_MAX: Final = 1024 * 1024


class LargeFile:
    """The records of a large file between what the receiver has and the end."""

    def __init__(
        self,
        item: int,
        descriptor: int,
        size: int,
        base: KnownChunks,
        done: int,
    ) -> None:
        self._item, self._descriptor, self._size = item, descriptor, size
        self._base, self._done = base, done
        self._new: list[tuple[bytes, memoryview]] = []
        self._new_bytes = 0
        self._run: tuple[int, int] | None = None
        # Of all that was read, which may be more than `size`.
        self.hasher, self.length = blake3(), 0
        self.chunks = ChunkList()

    def records(self) -> Iterator[list[bytes | memoryview]]:
        """Each in parts; those of more than one are valid until the next record."""
        for chunks in chunks_of(self._descriptor, self._size, self.hasher, self._base):
            for chunk in chunks:
                self.chunks.add(chunk.length, chunk.hash)
                self.length += chunk.length
                known = self._base.places.get(chunk.hash) if chunk.offset >= self._done else None
                if known is not None:
                    if not self._extends_run(known):
                        yield from self._refer(known)
                elif chunk.offset + chunk.length > self._done:
                    if self._run is not None or self._new_bytes >= _NEW_BYTES:
                        yield from self._refer(None)
                    self._give(chunk)
            yield from self._flush()
        yield from self._refer(None)

    def _give(self, chunk: Chunk) -> None:
        data = chunk.data
        if chunk.offset < self._done:
            data = data[self._done - chunk.offset :]
        self._new.append((chunk.hash, data))
        self._new_bytes += len(data)

    def _flush(self) -> Iterator[list[bytes | memoryview]]:
        if self._new:
            yield contents.encode_chunks(self._item, self._new)
            self._new, self._new_bytes = [], 0

    def _extends_run(self, place: tuple[int, int]) -> bool:
        """Extend the run by `place` if that follows it; whether it did."""
        run = self._run
        if run is None or run[0] + run[1] != place[0] or run[1] + place[1] > _COPIED_BYTES_MAX:
            return False
        self._run = (run[0], run[1] + place[1])
        return True

    def _refer(self, place: tuple[int, int] | None) -> Iterator[list[bytes | memoryview]]:
        """Send what was collected, then begin a run at `place`, or none."""
        yield from self._flush()
        if self._run is not None:
            where = contents.COPIED.pack(*self._run)
            yield [contents.encode_record(contents.COPY, self._item, where)]
        self._run = place
