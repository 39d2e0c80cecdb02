"""A store of the chunk lists of large files, by digest, so that a change needs no round trip.

A list is lengths (4) and hashes (20). A damaged list costs one transfer: a file assembled with it
has the wrong digest, and is sent again without the list.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from kled_sync.wire.contents import CHUNK_HASH_BYTES

_ROW: Final = struct.Struct(f">I{CHUNK_HASH_BYTES}s")
# Enough for 1,000 GB of the largest files.
_STORE_BYTES_MAX: Final = 128 * 1024 * 1024


class ChunkList:
    """Lengths and hashes in the order of the file."""

    def __init__(self, packed: bytes = b"") -> None:
        self.packed = bytearray(packed)

    def add(self, length: int, digest: bytes) -> None:
        self.packed += _ROW.pack(length, digest)

    def rows(self) -> Iterator[tuple[int, bytes]]:
        return _ROW.iter_unpack(self.packed)

    def places(self) -> dict[bytes, tuple[int, int]]:
        """Where in the file each chunk is: its hash → offset and length."""
        found: dict[bytes, tuple[int, int]] = {}
        offset = 0
        for length, digest in self.rows():
            found[digest] = (offset, length)
            offset += length
        return found

    def by_offset(self) -> dict[int, tuple[int, bytes]]:
        """Length and hash of the chunk at each offset."""
        found: dict[int, tuple[int, bytes]] = {}
        offset = 0
        for length, digest in self.rows():
            found[offset] = (length, digest)
            offset += length
        return found


class KnownChunks:
    """The chunks of a version that the other side has: where each is, and what comes after it."""

    def __init__(self, chunks: ChunkList | None = None) -> None:
        self.places = chunks.places() if chunks is not None else {}
        self._by_offset = chunks.by_offset() if chunks is not None else {}
        if self._by_offset:
            # Its end is the file's, not one that the content gave it: what is appended again and
            # again would be cut into ever more pieces.
            self._by_offset.popitem()

    def after(self, digest: bytes) -> tuple[int, bytes] | None:
        """Length and hash of the chunk behind the one that has this hash; of the first for b""."""
        place = self.places.get(digest) if digest else (0, 0)
        return self._by_offset.get(sum(place)) if place is not None else None


class ChunkStore:
    """A directory of lists. Blocks."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def load(self, digest: bytes) -> ChunkList | None:
        try:
            packed = (self._directory / digest.hex()).read_bytes()
        except OSError:
            return None
        return ChunkList(packed) if packed and len(packed) % _ROW.size == 0 else None

    def save(self, digest: bytes, chunks: ChunkList) -> None:
        """A list that cannot be kept costs a longer transfer some day, nothing more."""
        with suppress(OSError):
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            temporary = self._directory / f".{os.getpid()}.tmp"
            temporary.write_bytes(chunks.packed)
            temporary.replace(self._directory / digest.hex())

    def prune(self) -> None:
        """Forget the lists that were not used for longest, above a limit."""
        with suppress(OSError):
            found = sorted(
                ((path.stat().st_mtime_ns, path.stat().st_size, path)
                 for path in self._directory.iterdir()),
                reverse=True,
            )  # fmt: skip
            total = 0
            for _, size, path in found:
                total += size
                if total > _STORE_BYTES_MAX:
                    path.unlink()
