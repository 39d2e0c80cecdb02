"""An SSH channel whose window counts buffered data, and which reports every end of a channel.

asyncssh (2.2x, channel.py) opens the whole window again with the first block it delivers after a
pause, although it may hold a window's worth of others: for a program that reads slowly its
buffer grows by that much with each pause. Here window and buffered data never exceed what was
offered. asyncssh also does not tell a session that waits for room to write when the peer closes
the channel; and when the connection ends, it forgets what a paused session has not been given.

A session that pauses reading calls `bound_window`, at the latest when its connection is made.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from asyncssh.packet import SSHPacket, UInt32

MSG_CHANNEL_WINDOW_ADJUST: Final = 93  # RFC 4254, section 9


class BoundedWindow:
    """Opens the window of `channel` by what the session was given, not by what is held for it."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel
        # Given to the session, and not offered to the peer again: at the beginning nothing is.
        self._free = 0

    def deliver(self, data: bytes, datatype: int | None) -> None:
        """Give `data` to the session; open the window by what is free, once that is half of it."""
        channel = self._channel
        self._free += len(data)
        if self._free > channel._init_recv_window // 2:  # noqa: SLF001
            channel.send_packet(MSG_CHANNEL_WINDOW_ADJUST, UInt32(self._free))
            channel._recv_window += self._free  # noqa: SLF001
            self._free = 0
        if channel._session is not None:  # noqa: SLF001
            channel._session.data_received(data, datatype)  # noqa: SLF001


def bound_window(channel: Any) -> None:
    """Change `channel` (asyncssh's, without an encoding) in this way."""
    channel._deliver_data = BoundedWindow(channel).deliver  # noqa: SLF001 - see above
    channel._close_send = partial(close_send, channel, channel._close_send)  # noqa: SLF001
    channel.process_connection_close = partial(
        end_with_connection, channel, channel.process_connection_close
    )


def hear_refusal(channel: Any, refused: Callable[[], None]) -> None:
    """Call `refused` when the client takes no more output (OpenSSH's PROTOCOL, section 2.1)."""

    def process(packet: SSHPacket) -> bool:
        packet.check_end()
        refused()
        return True

    channel._process_eow_at_openssh_dot_com_request = process  # noqa: SLF001


def close_send(channel: Any, close: Callable[[], None]) -> None:
    """Close, and resume a session that waits for room to write: its next write fails."""
    close()
    if channel._send_paused and channel._session is not None:  # noqa: SLF001
        channel._send_paused = False  # noqa: SLF001
        channel._session.resume_writing()  # noqa: SLF001


def end_with_connection(channel: Any, end: Callable[..., None], exc: Exception | None) -> None:
    """Give the session what is held for it, no more than the window, and then the end."""
    held, channel._recv_buf = channel._recv_buf, []  # noqa: SLF001
    session, state = channel._session, channel._recv_state  # noqa: SLF001
    if session is not None:
        for data, datatype in held:
            session.data_received(data, datatype)
        if state == "eof_pending":
            session.eof_received()
    end(exc)
