"""The records of a large file: references to what the receiver has, and chunks that are new."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from blake3 import blake3

from kled_sync.files.reading.chunk_store import ChunkList
from kled_sync.files.reading.chunking import Chunk, chunks_of
from kled_sync.wire import contents
from kled_sync.wire.blocks import BLOCK_BYTES

_COPIED_BYTES_MAX: Final = 1024 * 1024


class LargeFile:
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
        self._new: list[tuple[bytes, memoryview]] = []
        self._new_bytes = 0
        self._run: tuple[int, int] | None = None
        self.hasher = blake3()
        self.chunks = ChunkList()

    def records(self) -> Iterator[list[bytes | memoryview]]:
        """Each in parts; those of more than one are valid until the next record."""
        for chunks in chunks_of(self._descriptor, self._size, self.hasher):
            for chunk in chunks:
                yield from self._chunk(chunk)
            yield from self._flush()
        yield from self._refer(None)

    def _chunk(self, chunk: Chunk) -> Iterator[list[bytes | memoryview]]:
        self.chunks.add(chunk.length, chunk.hash)
        if chunk.offset + chunk.length <= self._done:
            return
        whole = chunk.offset >= self._done
        place = self._base.get(chunk.hash) if whole else None
        if place is not None:
            yield from self._refer(place)
        else:
            yield from self._give(chunk, max(0, self._done - chunk.offset))

    def _flush(self) -> Iterator[list[bytes | memoryview]]:
        if self._new:
            yield contents.encode_chunks(self._item, self._new)
            self._new, self._new_bytes = [], 0

    def _refer(self, place: tuple[int, int] | None) -> Iterator[list[bytes | memoryview]]:
        """To what the receiver has, in runs; what was collected until now goes before it."""
        yield from self._flush()
        run = self._run
        if run is not None and place is not None and _continues(run, place):
            self._run = (run[0], run[1] + place[1])
            return
        if run is not None:
            yield self._copy(run)
        self._run = place

    def _give(self, chunk: Chunk, skip: int) -> Iterator[list[bytes | memoryview]]:
        if self._run is not None:
            yield self._copy(self._run)
            self._run = None
        self._new.append((chunk.hash, chunk.data[skip:]))
        self._new_bytes += chunk.length - skip
        if self._new_bytes >= BLOCK_BYTES:
            yield from self._flush()

    def _copy(self, place: tuple[int, int]) -> list[bytes | memoryview]:
        where = contents.COPIED.pack(*place)
        return [contents.encode_record(contents.COPY, self._item, where)]


def _continues(run: tuple[int, int], place: tuple[int, int]) -> bool:
    return run[0] + run[1] == place[0] and run[1] + place[1] <= _COPIED_BYTES_MAX
