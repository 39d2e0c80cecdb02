"""The `~.` of ssh(1): at the start of a line it ends the session, `~~` is one tilde."""

from __future__ import annotations


class EscapeFilter:
    """Feed it what is typed; it gives what to send and whether to leave. No I/O."""

    def __init__(self) -> None:
        self._line_start = True
        self._held = False

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """The bytes to send on, and True once `~.` was typed (what follows is dropped)."""
        if not self._held and b"~" not in data:
            # The common case, also for pasted megabytes.
            if data:
                self._line_start = data[-1] in b"\r\n"
            return data, False
        out = bytearray()
        for byte in data:
            if self._held:
                self._held = False
                if byte == ord("."):
                    return bytes(out), True
                if byte != ord("~"):
                    out.append(ord("~"))
            elif byte == ord("~") and self._line_start:
                self._held = True
                continue
            out.append(byte)
            self._line_start = byte in b"\r\n"
        return bytes(out), False
