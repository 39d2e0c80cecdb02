"""Content-defined chunking: an insertion changes only the chunk boundaries around it.

FastCDC 2020 with normalisation 1. A list of chunks is by the digest of its file, so both ends may
cut differently: the average grows with the file, so that the list of a 20 GB file stays small.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final, NamedTuple

from blake3 import blake3
from pyfastcdc import FastCDC

from kled_sync.wire.contents import CHUNK_HASH_BYTES

# Smaller files are sent whole.
CHUNKED_BYTES: Final = 1024 * 1024
_AVERAGES: Final = ((256 * 1024 * 1024, 16 * 1024), (4 * 1024 * 1024 * 1024, 64 * 1024))
_AVERAGE_MAX: Final = 256 * 1024


class Chunk(NamedTuple):
    """`data` is valid until the next chunk."""

    offset: int
    length: int
    hash: bytes
    data: memoryview


def chunks_of(descriptor: int, size: int) -> Iterator[Chunk]:
    """Of a file that has `size` bytes, from where `descriptor` is to its end. Raises OSError."""
    average = next((a for limit, a in _AVERAGES if size < limit), _AVERAGE_MAX)
    for found in FastCDC(average, normalized_chunking=1).cut_stream(_DescriptorReader(descriptor)):
        data = found.data
        digest = blake3(data).digest(CHUNK_HASH_BYTES)
        yield Chunk(found.offset, found.length, digest, data)


class _DescriptorReader:
    """What pyfastcdc reads from."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def readinto(self, buffer: memoryview) -> int:
        return os.readv(self._descriptor, [buffer])
