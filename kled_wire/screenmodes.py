"""Tracks the modes that output sets on a terminal, so that they can be reset.

Follows the modes that a full-screen program sets and that no picture of the screen shows: the
alternate screen, mouse and paste reporting, keypad, cursor shape. Sequences are those of
https://invisible-island.net/xterm/ctlseqs/ctlseqs.html. No I/O.
"""

from __future__ import annotations

import re
from collections import deque
from typing import Final

# One whole escape sequence: CSI, OSC, the other strings, or two and three bytes.
ESCAPE: Final = re.compile(
    rb"\x1b(?:"
    rb"\[(?P<csi>[0-?]*[ -/]*[@-~])"
    rb"|\](?P<osc>[^\x07\x1b]*)(?:\x07|\x1b\\)"
    rb"|[PX^_][^\x1b]*\x1b\\"
    rb"|(?P<short>[ -/]*[0-OQ-WYZ\\`-~])"
    rb")"
)
# An unfinished sequence at the end of a block; longer ones are not waited for.
_UNFINISHED: Final = re.compile(
    rb"\x1b(?:\[[0-?]*[ -/]*|\][^\x07\x1b]*\x1b?|[PX^_][^\x1b]*\x1b?|[ -/]*)\Z"
)
UNFINISHED_BYTES: Final = 4096
# Private modes that are worth restoring, with what a terminal begins with.
_PRIVATE: Final = {
    1: False, 5: False, 7: True, 9: False, 25: True, 1000: False, 1001: False, 1002: False,
    1003: False, 1004: False, 1005: False, 1006: False, 1007: False, 1015: False, 1016: False,
    2004: False,
}  # fmt: skip
_ALTERNATE: Final = frozenset({47, 1047, 1049})
_SWITCHES: Final = 256
_TITLE_BYTES: Final = 256


class ScreenModes:
    """Feed it output. `alternate` says which screen is shown; `position` counts all bytes."""

    def __init__(self) -> None:
        self.alternate = False
        self.position = 0
        # Where the alternate screen was entered (True) and left, oldest first.
        self.switches: deque[tuple[int, bool]] = deque(maxlen=_SWITCHES)
        # Where the shown screen was last cleared as a whole.
        self.cleared_at: int | None = None
        self._pending = b""
        self._start()

    def _start(self) -> None:
        self._private = dict(_PRIVATE)
        self._keypad = False
        self._shape = 0
        self._other_keys = b""
        self._kitty: list[bytes] = []
        self._title = b""

    def feed(self, data: bytes) -> None:
        """Follow `data`, which may begin and end anywhere in a sequence."""
        begin = self.position - len(self._pending)
        self.position += len(data)
        if not self._pending and b"\x1b" not in data:
            return
        data = self._pending + data
        end = 0
        for match in ESCAPE.finditer(data):
            end = match.end()
            if (csi := match["csi"]) is not None:
                self._csi(csi, begin + match.start())
            elif (short := match["short"]) is not None:
                self._short(short, begin + match.start())
            elif (osc := match["osc"]) is not None and osc[:2] in (b"0;", b"2;"):
                self._title = osc[2:][:_TITLE_BYTES]
        rest = _UNFINISHED.search(data, max(end, len(data) - UNFINISHED_BYTES))
        self._pending = rest[0] if rest else b""

    def _short(self, code: bytes, at: int) -> None:
        if code == b"=":
            self._keypad = True
        elif code == b">":
            self._keypad = False
        elif code == b"c":
            self._switch(alternate=False, at=at)
            self._start()
            self.cleared_at = at

    def _csi(self, body: bytes, at: int) -> None:
        final, parameters = body[-1:], body[:-1]
        if final in b"hl" and parameters[:1] == b"?":
            for number in _numbers(parameters[1:]):
                self._set_private(number, on=final == b"h", at=at)
        elif final == b"J" and parameters == b"2":
            self.cleared_at = at
        elif body == b"!p":
            self._private |= {1: False, 7: True, 25: True}
            self._keypad = False
        elif final == b"q" and parameters[-1:] == b" ":
            self._shape = next(iter(_numbers(parameters[:-1])), 0)
        elif final == b"m" and parameters[:2] == b">4":
            self._other_keys = parameters[3:4]
        elif final == b"u":
            self._kitty_keys(parameters)

    def _kitty_keys(self, parameters: bytes) -> None:
        if parameters[:1] == b">" and len(self._kitty) < 16:
            self._kitty.append(parameters[1:][:4])
        elif parameters[:1] == b"<":
            count = next(iter(_numbers(parameters[1:])), 1)
            del self._kitty[max(0, len(self._kitty) - count) :]

    def _set_private(self, number: int, *, on: bool, at: int) -> None:
        if number in _ALTERNATE:
            self._switch(alternate=on, at=at)
        elif number in _PRIVATE:
            self._private[number] = on

    def _switch(self, *, alternate: bool, at: int) -> None:
        if alternate != self.alternate:
            self.alternate = alternate
            self.switches.append((at, alternate))
            self.cleared_at = at if alternate else None

    def restore(self) -> bytes:
        """Bring a terminal with its modes at their beginning to these; the screen stays as is."""
        out = [_private(n, on) for n, on in self._private.items() if on != _PRIVATE[n]]
        if self._keypad:
            out.append(b"\x1b=")
        if self._shape:
            out.append(b"\x1b[%d q" % self._shape)
        if self._other_keys:
            out.append(b"\x1b[>4;%bm" % self._other_keys)
        out += [b"\x1b[>%bu" % flags for flags in self._kitty]
        if self._title:
            out.append(b"\x1b]2;%b\x07" % self._title)
        return b"".join(out)

    def leave(self) -> bytes:
        """Bring a terminal in these modes back to where it began, on its main screen."""
        out = [_private(n, _PRIVATE[n]) for n, on in self._private.items() if on != _PRIVATE[n]]
        if self._keypad:
            out.append(b"\x1b>")
        if self._shape:
            out.append(b"\x1b[0 q")
        if self._other_keys:
            out.append(b"\x1b[>4m")
        if self._kitty:
            out.append(b"\x1b[<%du" % len(self._kitty))
        if self.alternate:
            out.append(b"\x1b[r\x1b[?1049l")
        return b"".join([*out, b"\x1b[0m\x1b(B"])


def _numbers(parameters: bytes) -> list[int]:
    return [int(text) for text in parameters.split(b";") if text.isdigit() and len(text) <= 5]


def _private(number: int, on: bool) -> bytes:
    return b"\x1b[?%d%b" % (number, b"h" if on else b"l")
