"""Read one HTTP head from a stream, within the limits of size and time."""

from __future__ import annotations

from typing import Final

import trio

from kled_wire import limits
from kled_wire.errors import ProtocolError, UnavailableError
from kled_wire.http.upgrade import head_length

# The first byte of a ClientHello (RFC 8446, section 5.1). No blank line would ever come.
_TLS_HANDSHAKE: Final = 0x16


async def read_head(stream: trio.abc.ReceiveStream, buffer: bytearray | None = None) -> bytes:
    """Read up to and with the blank line; bytes beyond it are left in `buffer`.

    The caller owns the deadline. Raises ProtocolError ("head_too_large", "head_incomplete") and
    UnavailableError("connection_closed") when the peer closed before it said anything.
    """
    buffer = bytearray() if buffer is None else buffer
    while (length := head_length(buffer)) is None:
        data = await stream.receive_some(limits.HEAD_MAX_BYTES)
        if not data:
            if not buffer:
                raise UnavailableError("connection_closed", "the peer closed the connection")
            raise ProtocolError("head_incomplete", "the connection ended inside a request head")
        buffer += data
        if buffer[0] == _TLS_HANDSHAKE:
            raise ProtocolError("head_malformed", "this is TLS, and plain HTTP is spoken here")
    head = bytes(buffer[:length])
    del buffer[:length]
    return head


async def read_body(stream: trio.abc.ReceiveStream, buffer: bytearray, length: int) -> bytes:
    """Read `length` bytes of a response body, or less where the peer closes early."""
    while len(buffer) < length:
        data = await stream.receive_some(length - len(buffer))
        if not data:
            break
        buffer += data
    return bytes(buffer[:length])
