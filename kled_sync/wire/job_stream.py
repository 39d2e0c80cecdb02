"""The contents of one job as one stream of zstandard, cut into blocks. No I/O.

A block is compressed with what the blocks before it had, which small blocks need to get as small
as large ones. The stream is a job's and not the link's: a job that is dropped, or that ends with
one of the endpoints, leaves no other in the lurch. Blocks that do not get smaller are sent between
the stream's as they are, and small ones in a frame of their own. Each block is flushed: the
receiver can open it before the next has come, and stops where its stated size is reached.
"""

from __future__ import annotations

from typing import IO, Final, cast

import zstandard

from kled_sync.wire.blocks import (
    BLOCK_BYTES_MAX,
    DATA,
    FRAME,
    STREAM_BEGIN,
    STREAM_NEXT,
    WORTH,
    Packer,
    Unpacker,
    WireBlock,
    will_shrink,
)
from kled_wire.errors import ProtocolError

# What is not compressed in a stream that is not begun: its tables cost more than they save.
_BEGIN_BYTES: Final = 64 * 1024
_SAMPLE_BYTES: Final = 16 * 1024
# What a receiver lends to a stream; that of the levels that we use is 2 MiB.
_WINDOW_BYTES_MAX: Final = 8 * 1024 * 1024


class JobCompressor:
    """Makes the blocks of one job."""

    def __init__(self, job: int, *, streams: bool) -> None:
        """`streams`: whether the receiver opens a stream's blocks."""
        self._job, self._streams = job, streams
        self._frames = Packer()
        self._level = 0
        self._stream: zstandard.ZstdCompressionObj | None = None
        # Whether the last block that was compressed got smaller.
        self._shrank = True

    def pack(self, data: bytes, level: int) -> WireBlock:
        """Compressed at `level`, where that makes it smaller."""
        if not self._shrank and not will_shrink(data[:_SAMPLE_BYTES]):
            return WireBlock(0, DATA, self._job, len(data), data)
        if self._streams and (self._stream is not None or len(data) >= _BEGIN_BYTES):
            block = self._next(data, level)
        else:
            block = self._frames.pack(DATA, self._job, data, level)
        self._shrank = len(block.payload) < len(data) * WORTH
        return block

    def _next(self, data: bytes, level: int) -> WireBlock:
        flags = STREAM_NEXT
        if self._stream is None or level != self._level:
            flags, self._level = STREAM_BEGIN, level
            self._stream = zstandard.ZstdCompressor(level=level).compressobj()
        payload = self._stream.compress(data)
        payload += self._stream.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
        return WireBlock(flags, DATA, self._job, len(data), payload)


class JobDecompressor:
    """Opens the blocks of one job, in the order in which they were made."""

    def __init__(self) -> None:
        self._stream: zstandard.ZstdDecompressionReader | None = None
        self._payload = b""

    def unpack(self, block: WireBlock, frames: Unpacker) -> bytes | memoryview:
        """What was packed; `frames` opens what is in no stream.

        Raises ProtocolError("sync_block_refused").
        """
        if block.flags <= FRAME:
            return frames.unpack(block)
        if block.flags == STREAM_BEGIN:
            decompressor = zstandard.ZstdDecompressor(max_window_size=_WINDOW_BYTES_MAX)
            source = cast("IO[bytes]", self)  # of which it calls `read` alone
            self._stream = decompressor.stream_reader(source, read_size=BLOCK_BYTES_MAX)
        if self._stream is None:
            raise ProtocolError("sync_block_refused", "a block of a stream that was not begun")
        # The reader may keep the end of it until the next block, when the buffer has changed.
        self._payload = bytes(block.payload)
        try:
            data = self._stream.read(block.raw_bytes)
        except zstandard.ZstdError as exc:
            raise ProtocolError("sync_block_refused", f"a block is damaged: {exc}") from exc
        if len(data) != block.raw_bytes:
            raise ProtocolError("sync_block_refused", f"a block that unpacks to {len(data)} bytes")
        return data

    def read(self, size: int) -> bytes:
        """What the stream reads from: the last block, once. Raises ProtocolError at its end."""
        payload, self._payload = self._payload[:size], self._payload[size:]
        if not payload:
            raise ProtocolError("sync_block_refused", "a block that unpacks to less than it says")
        return payload

    def close(self) -> None:
        """Give back the stream's memory; no more blocks come."""
        self._stream = None
