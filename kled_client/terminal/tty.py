"""The local terminal: raw mode, size, and standard streams read and written from Trio."""

from __future__ import annotations

import os
import signal
import sys
import termios
import tty
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import trio

from kled_wire.limits import COPY_CHUNK_BYTES

# "1": a session waits for the scripts that logins wait for (kled_agent/ssh/login_wait.py).
WAIT_VARIABLE = "KLED_CLIENT_WAIT"


def sent_environment(env: Mapping[str, str]) -> dict[str, str]:
    """The variables ssh users expect on the other side: the locale; and what asks it to wait."""
    names = {"LANG", WAIT_VARIABLE}
    return {k: v for k, v in env.items() if k in names or k.startswith("LC_")}


@contextmanager
def raw_mode(descriptor: int) -> Iterator[None]:
    """Give every key to the other side; the terminal is put back whatever happens."""
    before = termios.tcgetattr(descriptor)
    try:
        tty.setraw(descriptor, termios.TCSADRAIN)
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def size(descriptor: int) -> tuple[int, int]:
    """Columns and rows; 80 by 24 where the terminal does not know."""
    try:
        found = os.get_terminal_size(descriptor)
    except OSError:
        return 80, 24
    return found.columns or 80, found.lines or 24


async def follow_size(descriptor: int, resize: Callable[[int, int], None]) -> None:
    """Call `resize` with columns and rows after each SIGWINCH; runs until cancelled."""
    with trio.open_signal_receiver(signal.SIGWINCH) as signals:
        async for _ in signals:
            resize(*size(descriptor))


async def read_input(descriptor: int) -> bytes:
    """The next bytes of a standard stream, b"" at its end; cancellable.

    O_NONBLOCK is not set: the flag belongs to the terminal and would break other programs.
    """
    try:
        await trio.lowlevel.wait_readable(descriptor)
    except OSError:
        # A regular file has no readiness (epoll gives EPERM): it is always ready.
        return await trio.to_thread.run_sync(os.read, descriptor, COPY_CHUNK_BYTES)
    try:
        return os.read(descriptor, COPY_CHUNK_BYTES)
    except OSError:
        # EIO: the terminal was hung up.
        return b""


async def write_output(data: bytes, *, is_stderr: bool) -> None:
    """Write all of `data`, in a thread: a pipe may be full and a terminal stopped."""
    descriptor = sys.stderr.fileno() if is_stderr else sys.stdout.fileno()
    await trio.to_thread.run_sync(_write_all, descriptor, data)


def write_now(data: bytes) -> None:
    """Write a few bytes on the terminal where nothing may be awaited."""
    _write_all(sys.stdout.fileno(), data)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
