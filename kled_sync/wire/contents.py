"""The contents of files, as records in data blocks. No I/O.

Record: kind (1), item (4), length (4), then so many bytes. An item is the place of its operation in
the job. `WHOLE` is a small file in one piece: digest, head of its entry, bytes. A larger one is
`CHUNKS` (lengths and hashes of the chunks, then their bytes) and `COPY` (offset and length in the
version that the receiver has), in order, and `END` with the entry that it now is. `AGAIN` starts it
anew, because it changed while it was read; `FAIL` gives it up, in words.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from kled_wire.errors import ProtocolError

_HEAD: Final = struct.Struct(">BII")
HEAD_BYTES: Final = _HEAD.size
COPIED: Final = struct.Struct(">QI")
_COUNT: Final = struct.Struct(">I")
CHUNK_HASH_BYTES: Final = 20
_CHUNK: Final = struct.Struct(f">I{CHUNK_HASH_BYTES}s")
WHOLE, CHUNKS, COPY, END, AGAIN, FAIL, RESUME = range(1, 8)
_LENGTHS: Final = {COPY: (COPIED.size, COPIED.size), AGAIN: (0, 0), RESUME: (8, 8)}


class Record(NamedTuple):
    """One record; `body` is a view into its block."""

    kind: int
    item: int
    body: memoryview


def encode_record(kind: int, item: int, body: bytes) -> bytes:
    return _HEAD.pack(kind, item, len(body)) + body


def records(data: bytes | memoryview) -> Iterator[Record]:
    """The records of a block. Raises ProtocolError("sync_record_refused")."""
    view = memoryview(data)
    at = 0
    while at < len(view):
        if len(view) - at < _HEAD.size:
            raise ProtocolError("sync_record_refused", "a block ends inside a record")
        kind, item, length = _HEAD.unpack_from(view, at)
        at += _HEAD.size
        low, high = _LENGTHS.get(kind, (0, len(view)))
        if not WHOLE <= kind <= RESUME or not low <= length <= high or at + length > len(view):
            raise ProtocolError("sync_record_refused", f"a record of kind {kind}, {length} bytes")
        yield Record(kind, item, view[at : at + length])
        at += length


def encode_whole(item: int, entry: bytes, length: int) -> bytes:
    """What a `WHOLE` record begins with; so many bytes of content follow."""
    return _HEAD.pack(WHOLE, item, len(entry) + length) + entry


def encode_chunks(item: int, chunks: list[tuple[bytes, memoryview]]) -> list[bytes | memoryview]:
    """Encode hashes and bytes; in parts, uncopied."""
    heads = b"".join(_CHUNK.pack(len(data), digest) for digest, data in chunks)
    size = _COUNT.size + len(heads) + sum(len(data) for _, data in chunks)
    head = _HEAD.pack(CHUNKS, item, size) + _COUNT.pack(len(chunks)) + heads
    return [head, *(data for _, data in chunks)]


def split_chunks(body: memoryview) -> tuple[list[tuple[int, bytes]], memoryview]:
    """Lengths and hashes of the chunks of a `CHUNKS` record, and their bytes in a row.

    The hashes are what the sender says. Raises ProtocolError("sync_record_refused").
    """
    if len(body) < _COUNT.size:
        raise ProtocolError("sync_record_refused", "chunks without their number")
    (count,) = _COUNT.unpack_from(body)
    at = _COUNT.size + _CHUNK.size * count
    if at > len(body):
        raise ProtocolError("sync_record_refused", f"{count} chunks without their lengths")
    rows = list(_CHUNK.iter_unpack(body[_COUNT.size : at]))
    if at + sum(length for length, _ in rows) != len(body):
        raise ProtocolError("sync_record_refused", "chunks and bytes that are not as many")
    return rows, body[at:]
