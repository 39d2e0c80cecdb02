"""Read an HTTP head, and the body of a response, from a stream of Trio's."""

from __future__ import annotations

from typing import Final

import trio

from kled_wire import limits
from kled_wire.errors import ProtocolError, UnavailableError
from kled_wire.http.body import ResponseBody
from kled_wire.http.heads import ResponseHead, head_length, parse_response

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
            raise ProtocolError("head_incomplete", "the connection ended inside a head")
        buffer += data
        if buffer[0] == _TLS_HANDSHAKE:
            raise ProtocolError("head_malformed", "received TLS on a port for plain HTTP")
    head = bytes(buffer[:length])
    del buffer[:length]
    return head


async def read_response(
    stream: trio.abc.ReceiveStream, buffer: bytearray
) -> tuple[ResponseHead, ResponseBody]:
    """Read a response whole, behind a 101 nothing; what was read past the head is in `buffer`.

    The caller owns the deadline. Raises as `read_head`, ProtocolError("head_malformed") and
    ("answer_malformed"); a body that is too long or cut off is not `whole`.
    """
    head = parse_response(await read_head(stream, buffer))
    body = ResponseBody(head, buffer)
    while not body.finished:
        body.feed(await stream.receive_some())
    return head, body
