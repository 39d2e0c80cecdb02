"""The escapes of ssh(1): `~` at the start of a line begins one, `~~` is one tilde."""

from __future__ import annotations

from enum import Enum


class Escape(Enum):
    """What somebody asked for; the value is the key after the tilde."""

    LEAVE = "."
    DETACH = "d"
    HELP = "?"


class EscapeFilter:
    """Feed it what is typed; it gives what to send and what was asked for. No I/O."""

    def __init__(self, known: tuple[Escape, ...] = (Escape.LEAVE,)) -> None:
        self._known = {ord(escape.value): escape for escape in known}
        self._line_start = True
        self._held = False

    def feed(self, data: bytes) -> tuple[bytes, Escape | None, bytes]:
        """The bytes to send on, the first escape typed, and what was typed after it."""
        if not self._held and b"~" not in data:
            # The common case, also for pasted megabytes.
            if data:
                self._line_start = data[-1] in b"\r\n"
            return data, None, b""
        out = bytearray()
        for at, byte in enumerate(data):
            if self._held:
                self._held = False
                if (escape := self._known.get(byte)) is not None:
                    self._line_start = True
                    return bytes(out), escape, data[at + 1 :]
                if byte != ord("~"):
                    out.append(ord("~"))
            elif byte == ord("~") and self._line_start:
                self._held = True
                continue
            out.append(byte)
            self._line_start = byte in b"\r\n"
        return bytes(out), None, b""
