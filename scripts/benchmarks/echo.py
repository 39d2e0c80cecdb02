"""One keystroke there and back through a terminal, against an OpenSSH bastion."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.report import Row, percentile, progress
from benchmarks.world import open_bastion, open_world

KEYSTROKES = 2000
BLOCKS = 4
DEADLINE_S = 20.0


def run(*, quick: bool) -> list[Row]:
    """Microseconds, in blocks of keystrokes the two in turn."""
    count = (KEYSTROKES // 10 if quick else KEYSTROKES) // BLOCKS
    ours: list[float] = []
    peer: list[float] = []
    with (
        open_world() as world,
        open_bastion() as bastion,
        open_terminal(world.ours) as first,
        open_terminal(bastion) as second,
    ):
        for terminal in (first, second):
            type_keys(terminal, 50)
        for block in range(BLOCKS):
            progress(f"block {block + 1} of {BLOCKS}")
            ours += type_keys(first, count)
            peer += type_keys(second, count)
    return [
        Row(
            name=f"echo {label}",
            value=percentile(ours, share),
            unit="us",
            peer=percentile(peer, share),
            wanted=wanted,
        )
        for label, share, wanted in (("p50", 0.5, 1.5), ("p99", 0.99, 2.0))
    ]


@contextmanager
def open_terminal(command: list[str]) -> Iterator[int]:
    """A terminal whose other end echoes byte by byte. `command` ends with the host."""
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    process = subprocess.Popen(
        [*command[:-1], "-tt", command[-1], "stty raw -echo; echo READY; exec cat"],
        stdin=theirs,
        stdout=theirs,
        stderr=subprocess.DEVNULL,
    )
    try:
        seen = b""
        while b"READY" not in seen or not seen.endswith(b"\n"):
            seen += _read(ours)
        yield ours
    finally:
        process.kill()
        process.wait()
        os.close(ours)
        os.close(theirs)


def type_keys(terminal: int, count: int) -> list[float]:
    """Type `count` keys, each when the one before is back; microseconds of each."""
    taken = []
    for _ in range(count):
        began = time.perf_counter()
        os.write(terminal, b"x")
        _read(terminal)
        taken.append((time.perf_counter() - began) * 1e6)
    return taken


def _read(terminal: int) -> bytes:
    if not select.select([terminal], [], [], DEADLINE_S)[0]:
        raise TimeoutError("nothing came back")
    return os.read(terminal, 1024)
