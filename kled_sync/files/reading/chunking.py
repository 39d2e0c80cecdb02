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

from kled_sync.files.reading.chunk_store import KnownChunks
from kled_sync.wire.contents import CHUNK_HASH_BYTES

# Smaller files are sent whole.
CHUNKED_BYTES: Final = 1024 * 1024
_AVERAGES: Final = ((256 * 1024 * 1024, 16 * 1024), (4 * 1024 * 1024 * 1024, 64 * 1024))
_AVERAGE_MAX: Final = 256 * 1024


# The size of a read that is hashed as a part of the whole: it stays in a processor's cache until it
# is cut. Each begins at a multiple of this size, which suits blake3.
_READ_BYTES: Final = 1024 * 1024


class Chunk(NamedTuple):
    """`data` is valid until the next list of chunks."""

    offset: int
    length: int
    hash: bytes
    data: memoryview


def chunks_of(
    descriptor: int, size: int, whole: blake3, known: KnownChunks | None = None
) -> Iterator[list[Chunk]]:
    """The chunks of a file that has `size` bytes, from where `descriptor` is to its end.

    Raises OSError.

    `whole` is fed all of it. Where the file goes on as `known` does, it is hashed only: a cut
    depends on nothing before its chunk, so the same bytes are cut at the same places.
    """
    average = next((a for limit, a in _AVERAGES if size < limit), _AVERAGE_MAX)
    cutter = FastCDC(average, normalized_chunking=1)
    buffer = memoryview(bytearray(cutter.max_size + _READ_BYTES))
    offset = held = 0
    last = b""
    while True:
        count = os.readv(descriptor, [buffer[held : held + _READ_BYTES]])
        whole.update(buffer[held : held + count])
        end = held + count
        chunks = list(_expected(known, last, buffer[:end], offset)) if known is not None else []
        start = sum(chunk.length for chunk in chunks)
        found = list(cutter.cut_buf(buffer[start:end]))
        if count and found:
            found.pop()  # cut where the buffer ends: more of it may come
        at = offset + start
        chunks += [Chunk(at + c.offset, c.length, _chunk_hash(c.data), c.data) for c in found]
        yield chunks
        if not count:
            return
        if chunks:
            last = chunks[-1].hash
            start = chunks[-1].offset + chunks[-1].length - offset
        offset, held = offset + start, end - start
        buffer[:held] = buffer[start:end]


def _expected(known: KnownChunks, last: bytes, data: memoryview, offset: int) -> Iterator[Chunk]:
    """Chunks at the beginning of `data` as `known` has them after its chunk `last`."""
    at = 0
    while (following := known.after(last)) is not None:
        length, last = following
        chunk = data[at : at + length]
        if len(chunk) < length or _chunk_hash(chunk) != last:
            return
        yield Chunk(offset + at, length, last, chunk)
        at += length


def _chunk_hash(data: memoryview) -> bytes:
    return blake3(data).digest(CHUNK_HASH_BYTES)
