"""Applies the terminal modes of a `pty-req` to a terminal (RFC 4254, section 8).

The client sends its own terminal's settings as opcode and value; what this system has of them is
set on the new terminal, so that erase, interrupt and flow control are the keys the user expects.
"""

from __future__ import annotations

import termios
from collections.abc import Mapping
from typing import Final

_IFLAG, _OFLAG, _CFLAG, _LFLAG, _CC = 0, 1, 2, 3, 6

_CHARACTERS: Final[dict[int, str]] = {
    1: "VINTR", 2: "VQUIT", 3: "VERASE", 4: "VKILL", 5: "VEOF", 6: "VEOL", 7: "VEOL2",
    8: "VSTART", 9: "VSTOP", 10: "VSUSP", 12: "VREPRINT", 13: "VWERASE", 14: "VLNEXT",
    18: "VDISCARD",
}  # fmt: skip

_FLAGS: Final[dict[int, tuple[int, str]]] = {
    30: (_IFLAG, "IGNPAR"), 31: (_IFLAG, "PARMRK"), 32: (_IFLAG, "INPCK"), 33: (_IFLAG, "ISTRIP"),
    34: (_IFLAG, "INLCR"), 35: (_IFLAG, "IGNCR"), 36: (_IFLAG, "ICRNL"), 37: (_IFLAG, "IUCLC"),
    38: (_IFLAG, "IXON"), 39: (_IFLAG, "IXANY"), 40: (_IFLAG, "IXOFF"), 41: (_IFLAG, "IMAXBEL"),
    42: (_IFLAG, "IUTF8"),
    50: (_LFLAG, "ISIG"), 51: (_LFLAG, "ICANON"), 53: (_LFLAG, "ECHO"), 54: (_LFLAG, "ECHOE"),
    55: (_LFLAG, "ECHOK"), 56: (_LFLAG, "ECHONL"), 57: (_LFLAG, "NOFLSH"), 58: (_LFLAG, "TOSTOP"),
    59: (_LFLAG, "IEXTEN"), 60: (_LFLAG, "ECHOCTL"), 61: (_LFLAG, "ECHOKE"),
    70: (_OFLAG, "OPOST"), 72: (_OFLAG, "ONLCR"), 73: (_OFLAG, "OCRNL"), 74: (_OFLAG, "ONOCR"),
    75: (_OFLAG, "ONLRET"),
    92: (_CFLAG, "PARENB"), 93: (_CFLAG, "PARODD"),
}  # fmt: skip

_NO_CHARACTER: Final = 255
IUTF8: Final = 0x4000  # asm-generic/termbits.h; Python's termios lacks the name before 3.13


def apply_modes(attributes: list[object], modes: Mapping[int, int]) -> list[object]:
    """`attributes` as termios.tcgetattr gives them, with `modes` set; unknown opcodes are skipped.

    Pure: the argument is not changed.
    """
    result = list(attributes)
    characters = list(attributes[_CC])  # type: ignore[call-overload]  # typeshed: list[int | list]
    for opcode, value in modes.items():
        if opcode in _CHARACTERS:
            index = getattr(termios, _CHARACTERS[opcode], None)
            if index is not None:
                characters[index] = b"\0" if value == _NO_CHARACTER else bytes([value & 0xFF])
        elif opcode in _FLAGS:
            group, name = _FLAGS[opcode]
            flag = IUTF8 if name == "IUTF8" else getattr(termios, name, 0)
            held = result[group]
            assert isinstance(held, int)
            result[group] = held | flag if value else held & ~flag
    result[_CC] = characters
    return result
