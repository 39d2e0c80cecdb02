"""One connection to a holder: the output that it still gets, and the output that it skips.

A client has a position in the ring and a short queue of frames, and reads output at its own rate. A
client that is more than LAG_BYTES behind, or that types Ctrl-C while it is behind, continues with
the current output, and gets the number of bytes it skipped. No I/O except the ring's.
"""

from __future__ import annotations

from typing import Final

from kled_agent.sessions.holder.frames import (
    Decoder,
    Done,
    Input,
    LogData,
    ScreenOutput,
    encode,
    encode_pieces,
)
from kled_agent.sessions.holder.lifetime import Viewer
from kled_agent.sessions.holder.ring import Ring
from kled_wire.screenmodes import ScreenModes

# Frames not yet taken by the socket. What is in here delays the answer to a key.
QUEUE_BYTES: Final = 4 * 1024
CHUNK_BYTES: Final = 4 * 1024
LAG_BYTES: Final = 1024 * 1024
# How much of the newest output a client gets after a skip.
RECENT_BYTES: Final = 4 * 1024
# Keys by which people stop a flood: interrupt, quit, suspend.
_STOPPING: Final = (b"\x03", b"\x1c", b"\x1a")


class AttachedClient:
    """An `attached` one gets output from `offset` on; `drawing` holds it until it has a picture."""

    def __init__(self) -> None:
        self.decoder = Decoder()
        self.out = bytearray()
        self.attached = False
        self.read_only = False
        self.drawing = False
        self.closing = False
        # The part of the log that ReadLog asked for and that is not sent yet: from, to.
        self.log: tuple[int, int] | None = None
        self.offset = 0
        self.columns = 0
        self.rows = 0
        self.active = 0

    def viewer(self) -> Viewer:
        """What counts for the terminal's size."""
        return Viewer(
            columns=self.columns, rows=self.rows, read_only=self.read_only, active=self.active
        )

    def fill(self, ring: Ring, modes: ScreenModes, name: str) -> bool:
        """Queue output up to QUEUE_BYTES. True: it fell behind and needs a picture of the screen.

        `name` is the session's, for the mark that says where the skipped is to be found.
        """
        self._fill_log(ring)
        if not self.attached or self.drawing or len(self.out) >= QUEUE_BYTES:
            return False
        if ring.end - self.offset > LAG_BYTES:
            if modes.alternate:
                return True
            self._skip(ring, modes, name)
        while len(self.out) < QUEUE_BYTES and (data := ring.read(self.offset, CHUNK_BYTES)):
            # Output that the ring has dropped meanwhile is not sent: `read` passes over it.
            self.offset = max(self.offset, ring.start) + len(data)
            self.out += encode(ScreenOutput(data))
        return False

    def wants_more(self, ring: Ring) -> bool:
        """Whether `fill` would queue something as soon as there is room."""
        live = self.attached and not self.drawing and self.offset < ring.end
        return live or self.log is not None

    def _fill_log(self, ring: Ring) -> None:
        while self.log is not None and len(self.out) < QUEUE_BYTES:
            at, end = max(self.log[0], ring.start), self.log[1]
            data = ring.read(at, min(CHUNK_BYTES, end - at)) if at < end else b""
            self.log = (at + len(data), end) if data else None
            self.out += encode(LogData(data) if data else Done())

    def typed(self, frame: Input, ring: Ring, modes: ScreenModes, name: str) -> None:
        """Before the keys are given to the terminal: a stopping one makes old output pointless."""
        behind = ring.end - self.offset
        if self.attached and not self.drawing and behind > QUEUE_BYTES and _stops(frame.data):
            self._skip(ring, modes, name)

    def _skip(self, ring: Ring, modes: ScreenModes, name: str) -> None:
        """Go on with the last lines."""
        recent = ring.slice(ring.end - RECENT_BYTES, ring.end)
        recent = recent[recent.find(b"\n") + 1 :]
        skipped = ring.end - len(recent) - self.offset
        if skipped <= 0:
            return
        mark = f"\r\n[kled: {skipped // 1024} KB skipped, `kled session log {name}` shows them]\r\n"
        self.out += encode(ScreenOutput(b"\x1b[0m\x1b(B" + modes.restore() + mark.encode()))
        self.offset = ring.end - len(recent)

    def drawn(self, picture: bytes, offset: int) -> None:
        """There is a picture of the screen as it was at `offset`."""
        self.out += encode_pieces(ScreenOutput, picture)
        self.offset = offset
        self.drawing = False


def _stops(data: bytes) -> bool:
    return any(key in data for key in _STOPPING)
