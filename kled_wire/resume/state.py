"""One end of a resumable stream, without I/O and without a clock: `now` is an argument.

    attach ──► receive / pieces ──► detach ──► attach ──► …  ──► closed

The caller moves bytes: what a transport gives goes into `receive`, what it can take comes out of
`pieces`. `write`, `end` and `reset` are the application's side; `room` says how much it may write.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from kled_wire.errors import ProtocolError
from kled_wire.resume import frames
from kled_wire.resume.frames import FrameParser
from kled_wire.resume.inbox import Inbox
from kled_wire.resume.outbox import Outbox
from kled_wire.resume.window import WINDOW_MAX, Window

# A transport that says nothing for this long is asked, and given up after DEAD_S. Seconds.
PING_S: Final = 5.0
DEAD_S: Final = 15.0
# On a direct path, which has the relay beside it to go back to.
DIRECT_PING_S: Final = 2.0
DIRECT_DEAD_S: Final = 6.0
# The bytes that one call of `pieces` takes: enough for one large write, few enough that a keystroke
# written meanwhile follows soon.
BATCH_BYTES: Final = 256 * 1024
# How much the kernel may hold unsent (TCP_NOTSENT_LOWAT), for the same reason.
UNSENT_BYTES: Final = 128 * 1024
# Pings beyond so many unanswered ones stay so: a peer that sends them and reads nothing shall not
# fill our memory, and one that lives hears from us anyway.
_ANSWERS_MAX: Final = 64
# A ping's value is when it was sent, in these parts of a second.
_PING_UNITS: Final = 1_000_000


class Closed(NamedTuple):
    """Why a stream is over."""

    code: str
    message: str


def _encode_ping(now: float) -> bytes:
    """A ping whose answer says how long it took."""
    return frames.encode_header(frames.PING, int(now * _PING_UNITS))


def _ignore(_offer: bytes) -> None:
    """For ends that go nowhere else."""


class StreamState:
    """What one end knows. Not attached to a transport at first."""

    __slots__ = (
        "_answers", "_dead_s", "_end_acked", "_end_due", "_ended", "_heard_at", "_offer", "_parser",
        "_ping_s", "_pinged_at", "_reset_due", "_reset_ours", "attached", "closed", "inbox",
        "on_offer", "outbox", "window",
    )  # fmt: skip

    def __init__(self, *, window_max: int = WINDOW_MAX) -> None:
        self.outbox = Outbox()
        self.inbox = Inbox()
        self.window = Window(window_max)
        self.attached = False
        self.closed: Closed | None = None
        self._parser = FrameParser()
        self._answers: list[bytes] = []
        self._ended = False
        self._end_due = False
        self._end_acked = False
        self._reset_due = False
        self._reset_ours = False
        self._heard_at = 0.0
        self._pinged_at = 0.0
        self._ping_s, self._dead_s = PING_S, DEAD_S
        self._offer = b""
        # Told what the peer offers, as it came (`offer.py`).
        self.on_offer: Callable[[bytes], None] = _ignore

    # The application's side.

    @property
    def room(self) -> int:
        """How many bytes may be written now; not positive when the window is full."""
        return self.window.size - self.outbox.end + self.outbox.start

    def write(self, data: bytes | memoryview) -> None:
        """Queue `data`, which is kept by reference. Raises RuntimeError when we have ended."""
        if self._ended or self.closed is not None:
            raise RuntimeError("written after the end of the stream")
        self.outbox.append(data)

    def end(self) -> None:
        """Say that this direction is complete."""
        if not self._ended:
            self._ended = True
            self._end_due = True

    def reset(self, code: str, message: str) -> None:
        """The stream is over in both directions; what was written before still goes out."""
        if self.closed is None:
            self.closed = Closed(code, message)
            self._reset_due = self._reset_ours = True

    def fail(self, code: str, message: str) -> None:
        """The stream is over and the peer is not there to be told."""
        if self.closed is None:
            self.closed = Closed(code, message)

    def offer(self, payload: bytes) -> None:
        """Tell the peer where it can reach us, on this transport and at the start of each later."""
        self._offer = frames.encode_header(frames.OFFER, 0, len(payload)) + payload
        if self.attached:
            self._answers.append(self._offer)

    @property
    def touched(self) -> bool:
        """Whether the peer has said anything yet: data, an acknowledgement, an end."""
        return bool(self.inbox.position or self.outbox.start or self._end_acked)

    @property
    def progress(self) -> int:
        """Grows with every byte that arrives in either direction."""
        return self.inbox.received + self.outbox.start

    @property
    def over(self) -> bool:
        """Whether nothing remains to be exchanged: complete, or reset and the peer was told."""
        return self.complete or (self.closed is not None and not self._reset_due)

    @property
    def complete(self) -> bool:
        """Whether both directions have ended and the peer has all of ours, the end included."""
        return self._end_acked and self.inbox.ended_at is not None

    # The transport's side.

    def attach(self, peer_received: int, now: float, *, direct: bool = False) -> None:
        """A transport is there, and the peer has `peer_received` bytes: replay from there.

        A direct one is given up sooner, and was greeted while another went on carrying: what the
        peer has acknowledged there since then, it has as well.

        Raises ProtocolError("offset_gone"); the state is then as it was.
        """
        position = self._without_end(peer_received)
        self.outbox.rewind(max(position, self.outbox.start) if direct else position)
        self._ping_s, self._dead_s = (DIRECT_PING_S, DIRECT_DEAD_S) if direct else (PING_S, DEAD_S)
        if self.inbox.consumed > self.inbox.acked or self.inbox.ended_at is not None:
            self.inbox.want_ack(now)
        self.window.detached()
        self.attached = True
        self._parser = FrameParser()
        self._answers[:] = [self._offer] if self._offer else []
        self._end_due = self._ended and not self._end_acked
        self._reset_due = self._reset_ours
        self._heard_at = self._pinged_at = now

    def detach(self) -> None:
        """The transport is gone; what it had not delivered will be replayed."""
        self.attached = False

    def receive(self, data: bytes, now: float) -> list[memoryview | bytes]:
        """Take bytes of the transport; returns what is new for the application, in order.

        What the application then takes is to be told to `consumed`.
        Afterwards look at `inbox.ended_at` and `closed`. Raises ProtocolError: the transport is
        to be given up, the stream goes on with the next, where all of `data` comes again.
        """
        self._heard_at = now
        received, ended_at = self.inbox.received, self.inbox.ended_at
        try:
            return self._receive_frames(data, now)
        except ProtocolError:
            # Bytes that arrived before the fault do not reach the application.
            self.inbox.received, self.inbox.ended_at = received, ended_at
            raise

    def _receive_frames(self, data: bytes, now: float) -> list[memoryview | bytes]:
        fresh: list[memoryview | bytes] = []
        for kind, value, payload in self._parser.feed(data):
            if kind == frames.DATA:
                if part := self.inbox.accept(value, payload):
                    fresh.append(part)
            elif kind == frames.ACK:
                self.outbox.acked(self._without_end(value))
                self.window.acked(value, now)
            else:
                self._handle(kind, value, payload, now)
        return fresh

    def consumed(self, count: int, now: float) -> bool:
        """The application has taken `count` bytes of what `receive` gave: more may come.

        Returns whether the peer is to be told at once.
        """
        self.inbox.consume(count, now)
        return now >= self.inbox.ack_at

    def _without_end(self, position: int) -> int:
        """The offset in an ACK's position, which is one more once the peer has our end."""
        if self._ended and position == self.outbox.end + 1:
            self._end_acked = True
            return self.outbox.end
        return position

    def _handle(self, kind: int, value: int, payload: bytes | memoryview, now: float) -> None:
        if kind == frames.FIN:
            self.inbox.ended(value, now)
        elif kind == frames.PING:
            if len(self._answers) < _ANSWERS_MAX:
                self._answers.append(frames.encode_header(frames.PONG, value))
        elif kind == frames.PONG:
            self.window.answered(value / _PING_UNITS, now)
        elif kind == frames.OFFER:
            self.on_offer(bytes(payload))
        elif kind == frames.RESET and self.closed is None:
            self.closed = Closed(*frames.decode_reason(payload))

    def pieces(self, now: float, limit: int = BATCH_BYTES) -> list[bytes | memoryview]:
        """What to write to the transport next, for one vectored write; empty when nothing is due.

        The pieces count as sent: if the transport dies before it takes them, `attach` replays.
        """
        pieces: list[bytes | memoryview] = []
        if self._answers:
            pieces.extend(self._answers)
            self._answers.clear()
        if now >= self.inbox.ack_at:
            pieces.append(frames.encode_header(frames.ACK, self.inbox.take_ack(now)))
        if self.outbox.sent < self.outbox.end:
            if self.window.asks(self.outbox.unacked, now):
                pieces.append(_encode_ping(now))
            for offset, length, chunks in self.outbox.take(limit):
                pieces.append(frames.encode_header(frames.DATA, offset, length))
                pieces += chunks
            self.window.sent(self.outbox.sent)
        if self._end_due and self.outbox.sent == self.outbox.end:
            self._end_due = False
            pieces.append(frames.encode_header(frames.FIN, self.outbox.end))
        if self._reset_due and self.closed is not None and self.outbox.sent == self.outbox.end:
            self._reset_due = False
            pieces.append(frames.encode_reset(*self.closed))
        return pieces

    def due(self, now: float) -> bool:
        """Whether `pieces` would give something now."""
        return bool(
            self._answers
            or self.outbox.sent < self.outbox.end
            or self._end_due
            or self._reset_due
            or now >= self.inbox.ack_at
        )

    @property
    def dead_at(self) -> float:
        """When the transport is to be given up if it says nothing more."""
        return self._heard_at + self._dead_s

    def tick(self, now: float) -> bool:
        """Time has passed: queue a ping when it is due. False: the transport is dead."""
        if now >= self.dead_at:
            return False
        if now >= max(self._heard_at, self._pinged_at) + self._ping_s:
            self._pinged_at = now
            self._answers.append(_encode_ping(now))
        return True

    def wake_at(self, now: float) -> float:
        """When to call `tick` and `pieces` again if nothing happens before."""
        ping_at = max(self._heard_at, self._pinged_at, now - self._ping_s) + self._ping_s
        return min(ping_at, self.inbox.ack_at)
