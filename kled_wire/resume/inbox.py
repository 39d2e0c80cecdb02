"""Received data: drops duplicates of a replay, and decides when to acknowledge."""

from __future__ import annotations

import math
from typing import Final

from kled_wire.errors import ProtocolError
from kled_wire.resume.window import WINDOW_MAX

# An ack is due after this many bytes at once, or after ACK_DELAY_S with fewer.
ACK_BYTES: Final = 64 * 1024
ACK_DELAY_S: Final = 0.05
# On a fast path it is due after what comes in ACK_EVERY_S, up to ACK_BYTES_MAX: the writer's window
# (window.py) is many times that, and each ack costs both ends a system call and a turn. As long as
# the window is not, the writer stands still until the time is up: so this grows step by step.
ACK_EVERY_S: Final = 0.004
ACK_BYTES_MAX: Final = WINDOW_MAX // 4
# How many bytes may wait for the application: twice what a writer that respects its window
# (window.py) has under way. A writer that does not shall not fill our memory.
HELD_MAX: Final = 64 * 1024 * 1024


class Inbox:
    """The receiving half of one direction.

    `received` is how many bytes have arrived, `consumed` how many of them the application has
    taken. Only those are acknowledged: the writer's window then bounds what waits here, and the
    transport can be read always, whatever the application does. (Were the reading to stop for a
    slow application, acknowledgements behind the data would stop with it, and two ends that write
    to each other would wait for ever.)
    """

    __slots__ = ("_ack_bytes", "_acked_at", "ack_at", "acked", "consumed", "ended_at", "received")

    def __init__(self) -> None:
        self.received = 0
        self.consumed = 0
        self.acked = 0
        self.ended_at: int | None = None
        self.ack_at = math.inf
        self._ack_bytes = ACK_BYTES
        self._acked_at = 0.0

    def accept(self, offset: int, payload: memoryview | bytes) -> memoryview | bytes:
        """The part of `payload` that is new.

        Raises ProtocolError: "data_out_of_order", "data_after_end", "window_exceeded".
        """
        if offset > self.received:
            raise ProtocolError("data_out_of_order", f"data at {offset}, expected {self.received}")
        if self.ended_at is not None and offset + len(payload) > self.ended_at:
            raise ProtocolError("data_after_end", f"data beyond the end at {self.ended_at}")
        fresh = payload[self.received - offset :]
        if self.received + len(fresh) - self.consumed > HELD_MAX:
            raise ProtocolError("window_exceeded", f"more than {HELD_MAX} bytes are unread")
        self.received += len(fresh)
        return fresh

    def consume(self, count: int, now: float) -> None:
        """The application has taken `count` more bytes."""
        self.consumed += count
        self.want_ack(now)

    def ended(self, offset: int, now: float) -> None:
        """FIN says that this direction ends at `offset`; saying so again changes nothing.

        Raises ProtocolError("end_out_of_order").
        """
        if offset != (self.received if self.ended_at is None else self.ended_at):
            raise ProtocolError("end_out_of_order", f"end at {offset}, expected {self.received}")
        self.ended_at = offset
        self.want_ack(now)

    def want_ack(self, now: float) -> None:
        """Have an ack sent in time: at once for much, or the end, else together with more."""
        taken = self.consumed - self.acked
        if taken >= self._ack_bytes or self.consumed == self.ended_at:
            ack_at = now
        else:
            ack_at = now + (ACK_DELAY_S if taken < ACK_BYTES else ACK_EVERY_S)
        self.ack_at = min(self.ack_at, ack_at)

    @property
    def position(self) -> int:
        """Where the peer goes on after a replay: the bytes that arrived, one more for the end."""
        return self.received + (self.ended_at is not None)

    def take_ack(self, now: float) -> int:
        """The position to acknowledge; nothing waits afterwards."""
        elapsed_s = max(now - self._acked_at, 1e-6)
        arrived = int((self.consumed - self.acked) / elapsed_s * ACK_EVERY_S)
        self._ack_bytes = min(max(arrived, ACK_BYTES), ACK_BYTES_MAX, 2 * self._ack_bytes)
        self._acked_at = now
        self.acked = self.consumed
        self.ack_at = math.inf
        return self.consumed + (self.consumed == self.ended_at)
