"""Wire format of a resumable stream, version 1.

A transport begins with a hello of the client, one of

    NEW        "KLR1" "N"  id[16]  secret[32]                           a stream begins
    RESUME     "KLR1" "R"  id[16]  nonce[32]  received[8]               a stream goes on

NEW needs no answer: frames follow at once, both ways. RESUME is answered, one of

    CHALLENGE  "KLR1" "C"  nonce[32]  received[8]  mac[32]              the agent knows the secret
    REFUSE     "KLR1" "X"  length[2]  "code message"                    it does not go on, and why

and the client answers a challenge with

    PROOF      "KLR1" "P"  mac[32]                                      so does the client

`received` is what an ACK would say: the other replays from there. The
macs are HMAC-SHA256 under the secret over both nonces, both offsets and the role (`proof.py`), so
neither side can be replayed to, nor believed without the secret.

After that, frames: type[1] length[3] value[8], then `length` bytes. Numbers are big-endian.

    DATA   value = offset of the first byte in this direction, length up to 256 KiB
    ACK    value = bytes received so far, and one more when the FIN has arrived too
    FIN    value = offset at which this direction ends
    RESET  value = 0, "code message": the stream is over, also for data still on its way
    PING   value = the sender's choice; answered by PONG with the same
    OFFER  value = 0, where the agent can be reached directly (`offer.py`)
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple, Self

from kled_wire.errors import ProtocolError

MAGIC: Final = b"KLR1"
ID_BYTES: Final = 16
SECRET_BYTES: Final = 32
NONCE_BYTES: Final = 32
MAC_BYTES: Final = 32
DATA_MAX: Final = 256 * 1024
# The size of a read where the size of what comes is not known.
READ_BYTES: Final = 256 * 1024
REASON_MAX: Final = 1024
OFFER_MAX: Final = 1024

DATA: Final = 1
ACK: Final = 2
FIN: Final = 3
RESET: Final = 4
PING: Final = 5
PONG: Final = 6
OFFER: Final = 7

_HEADER: Final = struct.Struct("!IQ")
HEADER_BYTES: Final = _HEADER.size
_LONGEST: Final = {
    DATA: DATA_MAX, ACK: 0, FIN: 0, RESET: REASON_MAX, PING: 0, PONG: 0, OFFER: OFFER_MAX
}  # fmt: skip


class Frame(NamedTuple):
    """One frame; `payload` may be a view of what was received."""

    kind: int
    value: int
    payload: bytes | memoryview = b""


def encode_header(kind: int, value: int, length: int = 0) -> bytes:
    """The 12 bytes before a payload."""
    return _HEADER.pack(kind << 24 | length, value)


def encode_reset(code: str, message: str) -> bytes:
    """A whole RESET frame; the reason is cut to what fits."""
    reason = f"{code} {message}".encode()[:REASON_MAX]
    return encode_header(RESET, 0, len(reason)) + reason


def decode_reason(payload: bytes | memoryview) -> tuple[str, str]:
    """(code, message) of a RESET or REFUSE."""
    code, _, message = bytes(payload).decode("utf-8", "replace").partition(" ")
    return code, message


class FrameParser:
    """Bytes in any pieces -> frames. DATA comes out as it comes in, in parts with their offsets.

    Holds at most one header and one RESET's reason or OFFER.
    """

    __slots__ = ("_buffer", "_offset", "_remaining")

    def __init__(self) -> None:
        self._buffer = b""
        self._offset = 0
        self._remaining = 0

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames, or parts of DATA, that are there. Raises ProtocolError("frame_malformed")."""
        buffer = self._buffer + data if self._buffer else data
        view, start, end = memoryview(buffer), 0, len(buffer)
        try:
            while start < end:
                if self._remaining:
                    size = min(self._remaining, end - start)
                    offset, self._offset = self._offset, self._offset + size
                    self._remaining -= size
                    start += size
                    yield Frame(DATA, offset, view[start - size : start])
                    continue
                if end - start < HEADER_BYTES:
                    return
                kind, length, value = self._header(buffer, start)
                body = start + HEADER_BYTES
                if kind == DATA:
                    self._offset, self._remaining = value, length
                    start = body
                    continue
                if end - body < length:
                    return
                start = body + length
                yield Frame(kind, value, view[body:start])
        finally:
            self._buffer = buffer[start:]

    @staticmethod
    def _header(buffer: bytes, start: int) -> tuple[int, int, int]:
        head, value = _HEADER.unpack_from(buffer, start)
        kind, length = head >> 24, head & 0xFFFFFF
        if length > _LONGEST.get(kind, -1):
            raise ProtocolError("frame_malformed", f"frame type {kind} of {length} bytes")
        return kind, length, value


class New(NamedTuple):
    """The first greeting of a stream: its name and its secret."""

    id: bytes
    secret: bytes

    @classmethod
    def draw(cls, random_bytes: Callable[[int], bytes]) -> Self:
        """One that nobody can guess, of so many bytes as `random_bytes` is asked for."""
        return cls(random_bytes(ID_BYTES), random_bytes(SECRET_BYTES))


class Resume(NamedTuple):
    """The greeting of a later transport: which stream, and how much of it has arrived."""

    id: bytes
    nonce: bytes
    received: int


class Challenge(NamedTuple):
    """The agent's answer to Resume: it proves that it knows the secret."""

    nonce: bytes
    received: int
    mac: bytes


class Refuse(NamedTuple):
    """The agent's answer to Resume for a stream that does not go on, with the reason."""

    code: str
    message: str


class Proof(NamedTuple):
    """The client's answer to Challenge."""

    mac: bytes


Hello = New | Resume
Answer = Challenge | Refuse
Greeting = New | Resume | Challenge | Refuse | Proof

_LAYOUTS: Final[dict[bytes, struct.Struct]] = {
    b"N": struct.Struct(f"!{ID_BYTES}s{SECRET_BYTES}s"),
    b"R": struct.Struct(f"!{ID_BYTES}s{NONCE_BYTES}sQ"),
    b"C": struct.Struct(f"!{NONCE_BYTES}sQ{MAC_BYTES}s"),
    b"P": struct.Struct(f"!{MAC_BYTES}s"),
    b"X": struct.Struct("!H"),
}
_TAGS: Final[dict[type[Greeting], bytes]] = {New: b"N", Resume: b"R", Challenge: b"C", Proof: b"P"}
_KINDS: Final = {tag: kind for kind, tag in _TAGS.items()}
_PREFIX_BYTES: Final = len(MAGIC) + 1


def encode_greeting(greeting: Greeting) -> bytes:
    """One of the messages before the frames."""
    if isinstance(greeting, Refuse):
        reason = f"{greeting.code} {greeting.message}".encode()[:REASON_MAX]
        return MAGIC + b"X" + _LAYOUTS[b"X"].pack(len(reason)) + reason
    tag = _TAGS[type(greeting)]
    return MAGIC + tag + _LAYOUTS[tag].pack(*greeting)


def decode_greeting(buffer: bytes | bytearray) -> tuple[Greeting, int] | None:
    """The greeting at the start of `buffer` and its length; None when more must come.

    Raises ProtocolError("greeting_malformed").
    """
    if bytes(buffer[: len(MAGIC)]) != MAGIC[: len(buffer)]:
        raise ProtocolError("greeting_malformed", "not a resumable stream")
    tag = bytes(buffer[len(MAGIC) : _PREFIX_BYTES])
    if not tag:
        return None
    layout = _LAYOUTS.get(tag)
    if layout is None:
        raise ProtocolError("greeting_malformed", f"unknown greeting {tag!r}")
    end = _PREFIX_BYTES + layout.size
    if len(buffer) < end:
        return None
    fields = layout.unpack_from(buffer, _PREFIX_BYTES)
    if tag != b"X":
        return _KINDS[tag](*fields), end
    length = fields[0]
    if length > REASON_MAX:
        raise ProtocolError("greeting_malformed", f"a refusal of {length} bytes")
    if len(buffer) < end + length:
        return None
    return Refuse(*decode_reason(bytes(buffer[end : end + length]))), end + length
