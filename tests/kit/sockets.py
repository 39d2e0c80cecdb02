"""Ports and sockets on which another program is about to listen.

A Unix socket's file is there from bind(2) on, and who connects before listen(2) is refused: that
the file exists says nothing.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import socket
from pathlib import Path

import trio

Address = tuple[str, int] | str

# The kernel gives connections their ports from a range of its own (ip(7)), from 32768 up unless
# somebody has set it. Ours are below, and each worker of a run has its own.
_FIRST, _EACH, _WORKERS = 20_000, 800, 15
_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _WORKERS
# Nobody is given the one after another: a test can ask for it and be refused.
_ports = list(range(_FIRST + _worker * _EACH, _FIRST + (_worker + 1) * _EACH, 2))
random.shuffle(_ports)
_next_ports = itertools.cycle(_ports)


def free_port() -> int:
    """A port on which nobody listens, and which nobody else of these tests will be given."""
    for port in _next_ports:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("never ends")


def is_open(address: Address) -> bool:
    """Whether somebody listens there: a host and a port, or a Unix socket's path."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family) as link, contextlib.suppress(OSError):
        link.settimeout(1)
        link.connect(address)
        return True
    return False


def trio_stream(end: socket.socket) -> trio.SocketStream:
    """The same socket as Trio's stream, which has it from now on."""
    return trio.SocketStream(trio.socket.from_stdlib_socket(end))


async def open_unix(path: str | Path) -> trio.SocketStream:
    """Connect, as soon as somebody listens there."""
    with trio.fail_after(20):
        while True:
            try:
                return await trio.open_unix_socket(path)
            except (FileNotFoundError, ConnectionRefusedError):
                await trio.sleep(0.01)
