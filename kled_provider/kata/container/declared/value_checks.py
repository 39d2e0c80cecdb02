"""Checks of single values of `kata_container`: what a runtime would refuse, or take for another.

Each returns a sentence, or None. None shows the value of a variable: it may be a secret.
"""

from __future__ import annotations

import base64
import re
import signal
from collections.abc import Sequence
from typing import Any, Final

from kled_provider.kata.network.files import address_problem, name_problem

MAX_UPLOAD_BYTES: Final = 1 << 20
# linux/binfmts.h: MAX_ARG_STRLEN, and a quarter of the usual stack for all, less what others need.
_STRING_BYTES: Final = 32 * 4096
_STRINGS_BYTES: Final = (2 << 20) - (256 << 10)
_MAC: Final = re.compile(r"[0-9A-Fa-f][02468ACEace](?::[0-9A-Fa-f]{2}){5}")
_REAL_TIME: Final = re.compile(r"RT(MIN|MAX)(?:([+-])([0-9]{1,2}))?")


def signal_number(text: str) -> int:
    """Return the number of a signal by its name or number (signal(7)). Raises ValueError."""
    name = text.removeprefix("SIG")
    if name.isdecimal():
        return signal.Signals(int(name)).value
    if found := _REAL_TIME.fullmatch(name):
        base, sign, offset = found.groups()
        start = signal.SIGRTMIN if base == "MIN" else signal.SIGRTMAX
        number = start + int(f"{sign or '+'}{offset or 0}")
        if signal.SIGRTMIN <= number <= signal.SIGRTMAX:
            return number
        raise ValueError(f"{text} is no real-time signal")
    try:
        return signal.Signals[f"SIG{name}"].value
    except KeyError as error:
        raise ValueError(f"there is no signal {text!r}") from error


def signal_problem(value: Any) -> str | None:
    """Refuse what is no signal: a container with it would not be stopped."""
    try:
        signal_number(value)
    except ValueError:
        return f"Use a signal, such as SIGTERM; got {value!r}."
    return None


def environment(value: Any) -> str | None:
    """Refuse names and values that environ(7) has no room for."""
    for name, text in value.items():
        if not name or "=" in name or "\0" in name:
            return f"A variable's name has no `=` and no NUL byte, and is not empty; got {name!r}."
        if text is not None and "\0" in text:
            return f"The value of {name} has a NUL byte."
    return _room_problem([f"{name}={text}" for name, text in value.items() if text is not None])


def hosts(value: Any) -> str | None:
    """Refuse what would be another line of /etc/hosts."""
    for name, address in value.items():
        problem = name_problem(name) or (address and address_problem(address))
        if problem or address == "":
            return problem or f"The address of {name} is empty."
    return None


def token(value: Any) -> str | None:
    """Take a token as the agent reads it: it is not shown."""
    if re.fullmatch(r"[!-~]{1,4096}", value):
        return None
    return "Use a kled_agent's token: one word of printable ASCII."


def mac(value: Any) -> str | None:
    """Take the hardware address of one interface."""
    if _MAC.fullmatch(value):
        return None
    return f"Use a hardware address of one interface, as in 02:00:00:00:00:07; got {value!r}."


def content(value: Any) -> str | None:
    """Take what fits into an upload."""
    return _size_problem(len(value.encode("utf-8", "replace")))


def content_base64(value: Any) -> str | None:
    """Take what stands for bytes that fit into an upload."""
    try:
        return _size_problem(len(base64.b64decode(value, validate=True)))
    except ValueError as error:
        return f"It is not base64: {error}."


def _size_problem(size: int) -> str | None:
    if size <= MAX_UPLOAD_BYTES:
        return None
    return f"It has {size} bytes; at most {MAX_UPLOAD_BYTES} are taken. Use a volume."


def texts(value: Any) -> str | None:
    """Take a list of strings as a program can be given."""
    bad = [item for item in value if not isinstance(item, str) or "\0" in item]
    return "It holds null or a NUL byte." if bad else _room_problem(value)


def _room_problem(strings: Sequence[str]) -> str | None:
    """Refuse what execve(2) has no room for: the container would start, and end at once."""
    sizes = [len(text.encode()) + 1 for text in strings]
    if max(sizes, default=0) > _STRING_BYTES:
        return f"One has {max(sizes)} bytes; a program takes {_STRING_BYTES} in one. Use an upload."
    if sum(sizes) > _STRINGS_BYTES:
        return f"Together they have {sum(sizes)} bytes; at most {_STRINGS_BYTES} are taken."
    return None
