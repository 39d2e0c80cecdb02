"""Converts the end of a program to an SSH client's exit status or signal."""

from __future__ import annotations

import signal
from typing import Final

# What RFC 4254, section 6.10, names, and what clients know besides.
_NAMED: Final = range(1, getattr(signal, "SIGRTMIN", signal.NSIG))


def told_status(code: int) -> tuple[int | None, str | None]:
    """An exit status, or a signal's name without SIG. `code` is negative for a signal.

    Real-time signals have no names that clients know: they are told as shells do, 128 and more.
    """
    if code >= 0:
        return code, None
    try:
        if -code in _NAMED:
            return None, signal.Signals(-code).name.removeprefix("SIG")
    except ValueError:
        pass
    return 128 - code, None
