"""Datagrams in a stream: the frames of the SSH subsystem `kled-udp`, the same in both directions.

The client's first line is JSON, {"host": …, "port": …}: where the datagrams go. After it there are
frames: flow (4 bytes), length (2 bytes), both big-endian, and the datagram. A flow is one sender
on the client's side; the agent has a socket of its own for each, so answers find their way back.
"""

from __future__ import annotations

import struct
from typing import Final

_HEAD: Final = struct.Struct(">IH")
DATAGRAM_MAX_BYTES: Final = 65535
FLOW_MAX: Final = 0xFFFFFFFF


def encode_datagram(flow: int, data: bytes | memoryview) -> bytes:
    """One frame."""
    return _HEAD.pack(flow, len(data)) + data


class DatagramReader:
    """Takes a stream apart again, however it is cut. Holds at most one frame's beginning."""

    def __init__(self) -> None:
        self._held = b""

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """The frames that are whole now: flow and datagram."""
        held = self._held + data
        found = []
        start = 0
        while len(held) - start >= _HEAD.size:
            flow, length = _HEAD.unpack_from(held, start)
            end = start + _HEAD.size + length
            if end > len(held):
                break
            found.append((flow, held[start + _HEAD.size : end]))
            start = end
        self._held = held[start:]
        return found
