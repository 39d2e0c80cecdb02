"""Pseudo-terminals: opens and resizes them, and signals their foreground process group.

Standard library only, for the process that holds a named session.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import termios
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from kled_agent.sessions.modes import apply_modes


@dataclass(frozen=True, slots=True, kw_only=True)
class TerminalRequest:
    """What a client asked for in `pty-req`. Sizes are characters and pixels."""

    term: str
    columns: int
    rows: int
    width: int = 0
    height: int = 0
    modes: Mapping[int, int] = field(default_factory=dict)


def open_terminal(request: TerminalRequest, owner: int | None) -> tuple[int, int]:
    """Our end and the program's, which belongs to the user `owner`, if given. Raises OSError."""
    try:
        ours, theirs = os.openpty()
    except OSError as error:
        raise OSError(error.errno, _why_none(error)) from error
    try:
        set_modes(theirs, request.modes)
        set_size(ours, request.columns, request.rows, request.width, request.height)
        if owner is not None:
            os.fchown(theirs, owner, -1)
    except BaseException:
        os.close(ours)
        os.close(theirs)
        raise
    return ours, theirs


def _why_none(error: OSError) -> str:
    """Words for a person: openpty(3) has those of a file that nobody named."""
    is_missing = error.errno in {errno.ENOENT, errno.ENODEV, errno.ENXIO}
    why = "/dev/pts is not mounted here" if is_missing else os.strerror(error.errno or 0)
    return f"no terminal can be opened: {why}; commands without one run (kled exec, ssh -T)"


def set_modes(terminal: int, modes: Mapping[int, int]) -> None:
    """Set a client's terminal modes (`modes.py`) as far as a pseudoterminal has them."""
    attributes = apply_modes(termios.tcgetattr(terminal), modes)
    # A terminal without a serial line has no parity: Linux then sets all other attributes and
    # returns EINVAL.
    with suppress(termios.error):
        termios.tcsetattr(terminal, termios.TCSANOW, attributes)  # type: ignore[arg-type]  # typeshed's list is narrower


def set_size(terminal: int, columns: int, rows: int, width: int = 0, height: int = 0) -> None:
    """TIOCSWINSZ, tty_ioctl(4). Values past 16 bits are cut to what the kernel takes."""
    size = struct.pack("HHHH", *(max(0, min(n, 0xFFFF)) for n in (rows, columns, width, height)))
    with suppress(OSError):
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, size)


def take_terminal(terminal: int) -> None:
    """In a child after setsid: make it the controlling terminal (tty_ioctl(4)). Raises OSError."""
    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)


def foreground(terminal: int, otherwise: int) -> int:
    """The process group in the foreground of the terminal; `otherwise` where it is not known."""
    try:
        return os.tcgetpgrp(terminal) or otherwise
    except OSError:
        return otherwise


def signal_group(group: int, number: int) -> None:
    """Send a signal to a process group, if it is there and may be signalled."""
    with suppress(OSError):
        os.killpg(group, number)
