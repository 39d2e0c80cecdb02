"""The messages between the coordinator and an offload process. No I/O.

Each packet of a Unix SOCK_SEQPACKET socket is one message: a type byte, then its fields. `Take` has
two file descriptors (SCM_RIGHTS): the connection, then an end of a Unix socket pair.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar, Final

from kled_wire.limits import HEAD_MAX_BYTES

TEXT_MAX: Final = 500
# The bytes that were read ahead are fewer than a head may have.
PACKET_MAX: Final = 2 + HEAD_MAX_BYTES


class LayerKind(IntEnum):
    """The layer that a connection is to be unwrapped of."""

    TLS = 0
    WEBSOCKET = 1


@dataclass(frozen=True, slots=True)
class Take:
    """To the process: serve this connection. `ahead` is what was read of it already."""

    tag: ClassVar[bytes] = b"T"
    kind: LayerKind
    ahead: bytes = b""

    def encode(self) -> bytes:
        return self.tag + bytes([self.kind]) + self.ahead


@dataclass(frozen=True, slots=True)
class Renewed:
    """From the process: the certificate was read again. `problem` says why it could not be."""

    tag: ClassVar[bytes] = b"R"
    problem: str = ""

    def encode(self) -> bytes:
        return self.tag + self.problem[:TEXT_MAX].encode(errors="replace")


@dataclass(frozen=True, slots=True)
class Crashed:
    """From the process: a bug of ours has ended a connection. `reason` is for the log."""

    tag: ClassVar[bytes] = b"C"
    reason: str

    def encode(self) -> bytes:
        return self.tag + self.reason[:TEXT_MAX].encode(errors="replace")


@dataclass(frozen=True, slots=True)
class StopOffload:
    """To the process: end everything and exit. Without it, it serves what it has to the end."""

    tag: ClassVar[bytes] = b"S"

    def encode(self) -> bytes:
        return self.tag


Packet = Take | Renewed | Crashed | StopOffload


def decode(packet: bytes) -> Packet:
    """Read one packet. Raises ValueError; the two ends are of one release, so that is a bug."""
    tag, rest = packet[:1], packet[1:]
    if tag == StopOffload.tag and not rest:
        return StopOffload()
    if tag == Take.tag and rest:
        return Take(LayerKind(rest[0]), rest[1:])
    if tag == Renewed.tag:
        return Renewed(rest.decode())
    if tag == Crashed.tag:
        return Crashed(rest.decode())
    raise ValueError(f"unknown packet {packet[:40]!r}")
