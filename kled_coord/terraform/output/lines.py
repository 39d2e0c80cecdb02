"""Splits a byte stream into lines of bounded length."""

from __future__ import annotations

MAX_LINE_BYTES = 4 << 20  # Terraform's longest are outputs and diagnostics with a snippet


class LineSplitter:
    """Splits a stream at newlines. Of a line that is too long the end is dropped."""

    def __init__(self, max_bytes: int = MAX_LINE_BYTES) -> None:
        self._max_bytes = max_bytes
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Take more bytes; returns the lines they complete, without their newlines."""
        *ended, begun = data.split(b"\n")
        lines = []
        for piece in ended:
            self._append(piece)
            lines.append(bytes(self._rest))
            self._rest.clear()
        self._append(begun)
        return lines

    def finish(self) -> list[bytes]:
        """Return what the stream ended with, if it was not a newline."""
        rest = [bytes(self._rest)] if self._rest else []
        self._rest.clear()
        return rest

    def _append(self, piece: bytes) -> None:
        self._rest += piece[: self._max_bytes - len(self._rest)]
