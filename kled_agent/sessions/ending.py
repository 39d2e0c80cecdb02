"""Signals by their names in SSH, and the end of a program as an exit status or signal."""

from __future__ import annotations

import signal
from typing import Final

# The signals that RFC 4254, section 6.10, names, and those that clients know besides.
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


def signal_named(name: str) -> signal.Signals | None:
    """The signal of that name, which lacks SIG (RFC 4254, section 6.10); None: there is none."""
    found = getattr(signal, f"SIG{name}", None)
    return found if isinstance(found, signal.Signals) else None
