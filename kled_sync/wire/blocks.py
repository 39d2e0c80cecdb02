"""Blocks, the units of the byte stream between a session and an endpoint. No I/O.

Head, big endian: flags (1), channel (1), job (4), bytes when unpacked (4), bytes that follow (4). A
block of the channel `DATA` is passed on to the other endpoint as it is; one of `CONTROL` has a
message or a part of one, and instead of a job the number of parts that follow.
The flags are 0, or say how it is compressed with zstandard: `FRAME`: by itself, `STREAM_BEGIN` and
`STREAM_NEXT`: in its job's stream (`job_stream`). Its unpacked size is stated and bounded.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

from kled_wire.errors import ProtocolError

if TYPE_CHECKING:
    import zstandard

MAGIC: Final = b"kled-sync/1\n"
HEAD: Final = struct.Struct(">BBIII")
# The most that a sender puts into one block, and that a receiver takes.
BLOCK_BYTES: Final = 256 * 1024
BLOCK_BYTES_MAX: Final = 2 * 1024 * 1024
# A directory of half a million files is listed in one message.
MESSAGE_BYTES_MAX: Final = 64 * 1024 * 1024
CONTROL: Final = 0
DATA: Final = 1
FRAME: Final = 1
STREAM_BEGIN: Final = 2
STREAM_NEXT: Final = 3
# The size of a read: it stays in a processor's cache until it is written again.
_PIECE_BYTES: Final = 256 * 1024
# To copy fewer bytes than this takes less time than a call of splice(2).
_UNCOPIED_BYTES: Final = 16 * 1024
# How much of what somebody says instead is quoted.
_SAID_BYTES_MAX: Final = 200
# Less is not worth the call; and what got smaller by less than this is sent as it was.
_SMALL_BYTES: Final = 128
WORTH: Final = 0.95
# With the head, fewer than writev(2) accepts (IOV_MAX, 1024).
_PARTS_MAX: Final = 1000
_LEVEL: Final = 1


class WireBlock(NamedTuple):
    """One block as it goes over the wire; `payload` may be compressed."""

    flags: int
    channel: int
    job: int
    raw_bytes: int
    payload: bytes | memoryview
    # Head and payload as they came, so that what is passed on is not put together again.
    came: bytes | memoryview = b""

    def head(self) -> bytes:
        return HEAD.pack(self.flags, self.channel, self.job, self.raw_bytes, len(self.payload))

    def encoded(self) -> bytes | memoryview:
        return self.came or self.head() + self.payload


class OutgoingBlock(NamedTuple):
    """A block before it is written: the payload is in parts, which writev(2) joins."""

    head: bytes
    parts: list[bytes | memoryview]
    # How much content there is in it by which compression is weighed.
    weighed_bytes: int = 0


class BegunBlock(NamedTuple):
    """A block of content received in part: the bytes received, and how many are missing."""

    came: memoryview
    block: WireBlock
    missing: int


def decode_head(head: bytes | memoryview) -> tuple[WireBlock, int]:
    """A block without its payload, and how many bytes that has. Raises ProtocolError."""
    flags, channel, job, raw, size = HEAD.unpack(head)
    if flags > (STREAM_NEXT if channel == DATA else FRAME) or channel > DATA:
        raise ProtocolError("sync_block_refused", f"a block with flags {flags}, channel {channel}")
    if raw > BLOCK_BYTES_MAX or size > BLOCK_BYTES_MAX:
        raise ProtocolError("sync_block_refused", f"a block of {max(raw, size)} bytes")
    if flags == 0 and raw != size:
        raise ProtocolError("sync_block_refused", "a block that contradicts itself")
    return WireBlock(flags, channel, job, raw, b""), size


class Packer:
    """Makes blocks; one for each thread."""

    def __init__(self) -> None:
        self._compressor: zstandard.ZstdCompressor | None = None
        self._level = 0

    def pack(self, channel: int, job: int, data: bytes, level: int = _LEVEL) -> WireBlock:
        """Compressed in a frame of its own, where it gets smaller."""
        if len(data) >= _SMALL_BYTES:
            if self._compressor is None or level != self._level:
                import zstandard  # noqa: PLC0415  # only when a sync begins

                self._level = level
                self._compressor = zstandard.ZstdCompressor(level=level)
            smaller = self._compressor.compress(data)
            if len(smaller) < len(data) * WORTH:
                return WireBlock(FRAME, channel, job, len(data), smaller)
        return WireBlock(0, channel, job, len(data), data)


class Unpacker:
    """Opens blocks; one for each thread."""

    def __init__(self) -> None:
        self._decompressor: zstandard.ZstdDecompressor | None = None

    def unpack(self, block: WireBlock) -> bytes | memoryview:
        """What was packed. Raises ProtocolError("sync_block_refused")."""
        if block.flags != FRAME:
            return block.payload
        import zstandard  # noqa: PLC0415  # only when a sync begins

        if self._decompressor is None:
            self._decompressor = zstandard.ZstdDecompressor()
        try:
            stated = zstandard.frame_content_size(block.payload)
            if stated != block.raw_bytes:
                raise ProtocolError("sync_block_refused", f"a block that unpacks to {stated} bytes")
            return self._decompressor.decompress(block.payload, max_output_size=block.raw_bytes)
        except zstandard.ZstdError as exc:
            raise ProtocolError("sync_block_refused", f"a block is damaged: {exc}") from exc


def as_it_is(
    channel: int, job: int, parts: list[bytes | memoryview], *, weighed: bool
) -> OutgoingBlock:
    """A block without compression; more parts than writev(2) accepts are joined."""
    size = sum(map(len, parts))
    head = HEAD.pack(0, channel, job, size, size)
    if len(parts) > _PARTS_MAX:
        parts = [b"".join(parts)]
    return OutgoingBlock(head, parts, size if weighed else 0)


def pack_message(packer: Packer, message: bytes) -> bytes:
    """A message as blocks, encoded."""
    parts = [message[at : at + BLOCK_BYTES_MAX] for at in range(0, len(message), BLOCK_BYTES_MAX)]
    return b"".join(
        packer.pack(CONTROL, len(parts) - number, part).encoded()
        for number, part in enumerate(parts, 1)
    )


class Assembler:
    """Puts the parts of messages together."""

    def __init__(self) -> None:
        self._unpacker = Unpacker()
        self._parts: list[bytes] = []
        self._size = 0

    def add(self, block: WireBlock) -> bytes | None:
        """The message that is whole with this block. Raises ProtocolError."""
        part = self._unpacker.unpack(block)
        self._size += len(part)
        if self._size > MESSAGE_BYTES_MAX:
            raise ProtocolError("sync_block_refused", f"a message of {self._size} bytes and more")
        self._parts.append(bytes(part))
        if block.job:
            return None
        message = b"".join(self._parts)
        self._parts.clear()
        self._size = 0
        return message


def will_shrink(sample: bytes) -> bool:
    """Whether content that begins like this is worth compressing."""
    if len(sample) < _SMALL_BYTES:
        return True
    import zstandard  # noqa: PLC0415  # only when a sync begins

    return len(zstandard.ZstdCompressor(level=_LEVEL).compress(sample)) < len(sample) * WORTH


class BlockReader:
    """Cuts a byte stream into blocks; the magic comes first.

    It has one buffer: who reads from the system reads into `space` and calls `took`. A block is a
    view of the buffer, valid until the next `space`.
    """

    def __init__(self) -> None:
        self._buffer = memoryview(bytearray(HEAD.size + BLOCK_BYTES_MAX + _PIECE_BYTES))
        # What is there of a block that is not whole yet.
        self._start = self._end = 0
        self._greeted = False
        # The last block without its payload, and how many bytes of it are not here.
        self._last = WireBlock(0, CONTROL, 0, 0, b"")
        self._missing = 0

    def space(self, *, uncopied: bool = False) -> memoryview:
        """The buffer for the next bytes.


        With `uncopied` it ends where the next block's head ends, so that the rest of a block of
        content can be passed on without a copy (`begun`).
        """
        if self._start:
            left = self._end - self._start
            self._buffer[:left] = self._buffer[self._start : self._end]
            self._start, self._end = 0, left
        wanted = _PIECE_BYTES
        if uncopied and self._last.channel == DATA:
            wanted = min(wanted, self._missing + HEAD.size)
        return self._buffer[self._end : self._end + wanted]

    def took(self, count: int) -> Iterator[WireBlock]:
        """The blocks that are whole with `count` more bytes in `space`. Raises ProtocolError."""
        self._end += count
        self._missing = 0
        if not self._greeted:
            self._greet()
        while self._greeted and self._end - self._start >= HEAD.size:
            start = self._start + HEAD.size
            block, size = decode_head(self._buffer[self._start : start])
            self._last = block
            self._missing = max(0, start + size - self._end)
            if self._missing:
                break
            came = self._buffer[self._start : start + size]
            self._start = start + size
            yield block._replace(payload=came[HEAD.size :], came=came)

    def begun(self) -> BegunBlock | None:
        """The incomplete block of content, if enough is missing of it to be worth a splice(2)."""
        if self._last.channel != DATA or self._missing < _UNCOPIED_BYTES:
            return None
        return BegunBlock(self._buffer[self._start : self._end], self._last, self._missing)

    def passed(self) -> None:
        """Note that the begun block was passed on, with the bytes that were missing."""
        self._start = self._end = self._missing = 0

    def _greet(self) -> None:
        seen = bytes(self._buffer[: min(self._end, _SAID_BYTES_MAX)])
        if not (MAGIC.startswith(seen) or seen.startswith(MAGIC)):
            said = seen.decode("utf-8", "replace").split("\n")[0]
            raise ProtocolError(
                "sync_not_spoken", f"the far end does not speak kled-sync: {said!r}"
            )
        if len(seen) >= len(MAGIC):
            self._greeted = True
            self._start = len(MAGIC)
