"""The messages between the coordinator and a relay process. No I/O.

A Unix SOCK_SEQPACKET socket, one message a packet: a type byte, then fixed fields in network byte
order. `Open` comes with two file descriptors (SCM_RIGHTS): the client's socket, then the agent's.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar, Final

from kled_coord.relay.splice.bandwidth import Share

PACKET_MAX: Final = 64
_NO_SHARE: Final = Share(0, 0)


class EndReason(IntEnum):
    """Why a stream ended."""

    CLOSED = 0
    BROKEN = 1
    IDLE_LIMIT = 2
    ABSOLUTE_LIMIT = 3
    STOPPED = 4


@dataclass(frozen=True, slots=True)
class Open:
    """To the relay: join these two sockets. Limits in seconds, 0 for none; at most two shares."""

    layout: ClassVar[struct.Struct] = struct.Struct("!cQddQQQQ")
    tag: ClassVar[bytes] = b"O"
    id: int
    idle_s: float = 0
    absolute_s: float = 0
    shares: tuple[Share, ...] = ()

    def encode(self) -> bytes:
        first, second = (*self.shares, _NO_SHARE, _NO_SHARE)[:2]
        return self.layout.pack(self.tag, self.id, self.idle_s, self.absolute_s, *first, *second)

    @classmethod
    def decode(cls, packet: bytes) -> Open:
        _, number, idle_s, absolute_s, *rest = cls.layout.unpack(packet)
        shares = (Share(*rest[:2]), Share(*rest[2:]))
        return cls(number, idle_s, absolute_s, tuple(share for share in shares if share.rate))


@dataclass(frozen=True, slots=True)
class Close:
    """To the relay: end a stream."""

    layout: ClassVar[struct.Struct] = struct.Struct("!cQ")
    tag: ClassVar[bytes] = b"X"
    id: int

    def encode(self) -> bytes:
        return self.layout.pack(self.tag, self.id)


@dataclass(frozen=True, slots=True)
class Moved:
    """From the relay, now and then: bytes moved since it last said so."""

    layout: ClassVar[struct.Struct] = struct.Struct("!cQQQ")
    tag: ClassVar[bytes] = b"M"
    id: int
    to_agent: int
    to_client: int

    def encode(self) -> bytes:
        return self.layout.pack(self.tag, self.id, self.to_agent, self.to_client)


@dataclass(frozen=True, slots=True)
class StreamDone:
    """From the relay, last of a stream: why it ended."""

    layout: ClassVar[struct.Struct] = struct.Struct("!cQB")
    tag: ClassVar[bytes] = b"D"
    id: int
    reason: EndReason

    def encode(self) -> bytes:
        return self.layout.pack(self.tag, self.id, self.reason)


@dataclass(frozen=True, slots=True)
class StopRelay:
    """To the relay: end everything and exit. Without it, it serves its streams to their end."""

    tag: ClassVar[bytes] = b"S"

    def encode(self) -> bytes:
        return self.tag


Packet = Open | Close | Moved | StreamDone | StopRelay


def decode(packet: bytes) -> Packet:
    """Read one packet. Raises ValueError; the two ends are of one release, so that is a bug."""
    tag = packet[:1]
    try:
        if tag == StopRelay.tag:
            return StopRelay()
        if tag == StreamDone.tag:
            _, number, reason = StreamDone.layout.unpack(packet)
            return StreamDone(number, EndReason(reason))
        if tag == Open.tag:
            return Open.decode(packet)
        for kind in (Close, Moved):
            if tag == kind.tag:
                return kind(*kind.layout.unpack(packet)[1:])
    except struct.error as exc:
        raise ValueError(f"malformed packet {packet!r}") from exc
    raise ValueError(f"unknown packet {packet!r}")
