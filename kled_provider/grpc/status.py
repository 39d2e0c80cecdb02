"""The status of a gRPC call, and the framing of its messages."""

from __future__ import annotations

import enum
import struct

# A flag that says whether it is compressed, and the message's length.
_HEAD = struct.Struct(">BI")


class GrpcStatus(enum.IntEnum):
    """The gRPC status codes used here."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    UNIMPLEMENTED = 12
    UNAVAILABLE = 14


class GrpcError(Exception):
    """A call whose status is not OK. `status` is one of GrpcStatus, or another code as it came."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def frame(message: bytes) -> bytes:
    """Return a message as it stands in a body."""
    return _HEAD.pack(0, len(message)) + message


def unframe(body: bytearray, most_bytes: int) -> bytes | None:
    """Take the first message out of the start of a body; None where it is not whole yet.

    Raises GrpcError for one that is compressed or over `most_bytes`.
    """
    if len(body) < _HEAD.size:
        return None
    compressed, size = _HEAD.unpack_from(body)
    if compressed:
        raise GrpcError(GrpcStatus.UNIMPLEMENTED, "compressed messages are not supported")
    if size > most_bytes:
        raise GrpcError(GrpcStatus.RESOURCE_EXHAUSTED, f"a message of {size} bytes is too large")
    end = _HEAD.size + size
    if len(body) < end:
        return None
    message = bytes(body[_HEAD.size : end])
    del body[:end]
    return message
