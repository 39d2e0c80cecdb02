"""What the coordinator and a relay process say to each other, on one page. No I/O.

A Unix SOCK_SEQPACKET socket, one message a packet: a type byte, then fixed fields in network byte
order. `Open` comes with two file descriptors (SCM_RIGHTS): the client's socket, then the agent's.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar, Final

PACKET_MAX: Final = 64


class Ended(IntEnum):
    """Why a stream ended."""

    CLOSED = 0
    BROKEN = 1
    IDLE_LIMIT = 2
    ABSOLUTE_LIMIT = 3
    STOPPED = 4


@dataclass(frozen=True, slots=True)
class Open:
    """To the relay: join these two sockets. Limits in seconds, 0 for none."""

    layout: ClassVar[struct.Struct] = struct.Struct("!cQdd")
    tag: ClassVar[bytes] = b"O"
    id: int
    idle_s: float
    absolute_s: float

    def encode(self) -> bytes:
        return self.layout.pack(self.tag, self.id, self.idle_s, self.absolute_s)


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
class Done:
    """From the relay, last of a stream: why it ended."""

    layout: ClassVar[struct.Struct] = struct.Struct("!cQB")
    tag: ClassVar[bytes] = b"D"
    id: int
    reason: Ended

    def encode(self) -> bytes:
        return self.layout.pack(self.tag, self.id, self.reason)


@dataclass(frozen=True, slots=True)
class Stop:
    """To the relay: end everything and exit. Without it, it serves its streams to their end."""

    tag: ClassVar[bytes] = b"S"

    def encode(self) -> bytes:
        return self.tag


Packet = Open | Close | Moved | Done | Stop


def decode(packet: bytes) -> Packet:
    """Read one packet. Raises ValueError; the two ends are of one release, so that is a bug."""
    tag = packet[:1]
    try:
        if tag == Stop.tag:
            return Stop()
        if tag == Done.tag:
            _, number, reason = Done.layout.unpack(packet)
            return Done(number, Ended(reason))
        for kind in (Open, Close, Moved):
            if tag == kind.tag:
                return kind(*kind.layout.unpack(packet)[1:])
    except struct.error as exc:
        raise ValueError(f"malformed packet {packet!r}") from exc
    raise ValueError(f"unknown packet {packet!r}")
