"""A channel's receive window that counts what the channel still holds.

asyncssh (2.2x, channel.py) opens the whole window again with the first block it delivers after a
pause, although it may hold a window's worth of others: behind a program that reads slowly its
buffer grows by that much with each pause. Here the window and what is held never exceed what was
offered.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from asyncssh.packet import UInt32

MSG_CHANNEL_WINDOW_ADJUST: Final = 93  # RFC 4254, section 9


def bound_window(channel: Any) -> None:
    """Make `channel` (asyncssh's, without an encoding) deliver through `deliver`."""
    channel._deliver_data = partial(deliver, channel)  # noqa: SLF001 - see above


def deliver(channel: Any, data: bytes, datatype: int | None) -> None:
    """Give `data` to the session, and open the window by what is free, once that is half of it."""
    held = sum(len(block) for block, _ in channel._recv_buf)  # noqa: SLF001
    offered: int = channel._init_recv_window  # noqa: SLF001
    free = offered - channel._recv_window - held  # noqa: SLF001
    if free > offered // 2:
        channel.send_packet(MSG_CHANNEL_WINDOW_ADJUST, UInt32(free))
        channel._recv_window += free  # noqa: SLF001
    if channel._session is not None:  # noqa: SLF001
        channel._session.data_received(data, datatype)  # noqa: SLF001
