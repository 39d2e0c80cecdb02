"""Refuses a connection: sends the whole answer and closes, within a time limit."""

from __future__ import annotations

import trio

from kled_wire import limits
from kled_wire.errors import KledError, ProtocolError
from kled_wire.http.upgrade import encode_error


async def answer_error(stream: trio.abc.HalfCloseableStream, error: KledError) -> None:
    """Send the whole answer that refuses a connection, then its end; bounded in time."""
    with trio.move_on_after(limits.CLEANUP_S):
        try:
            await stream.send_all(encode_error(error))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return  # it did not want to hear it
        await end_politely(stream)


async def end_politely(stream: trio.abc.HalfCloseableStream) -> None:
    """End our side of what was answered, and read to the peer's end; bounded in time.

    Closing a socket with unread input resets the connection and could take the answer with it.
    """
    try:
        with trio.move_on_after(limits.CLEANUP_S):
            await stream.send_eof()
            while await stream.receive_some(limits.HEAD_MAX_BYTES):
                pass
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        return


def head_timeout() -> ProtocolError:
    """What is said to a peer whose head does not come."""
    return ProtocolError("head_timeout", "the request head was not received in time")
