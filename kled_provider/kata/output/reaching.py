"""Reaches the process that writes this machine's logs, and starts it where there is none."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Final

import trio

from kled_provider.host import HostError
from kled_provider.kata.output import logger
from kled_provider.locks import hold_lock

SOCKET: Final = "logger.sock"
# A request takes the process a few system calls; only a disk that hangs takes longer.
_ANSWER_S: Final = 30.0
_ANSWER_BYTES: Final = 4096
_BACKLOG: Final = 128
# Others who wait for the lock wait for the start of one small program.
_LOOK_AGAIN_S: Final = 0.005


@cache
def version() -> str:
    """What tells the program from an older one, which it replaces."""
    return hashlib.sha256(Path(logger.__file__).read_bytes()).hexdigest()[:16]


async def ask(directory: Path, verb: str, container: str) -> bool:
    """Send one request; gives False where nobody takes it. Raises HostError, OSError."""
    with trio.move_on_after(_ANSWER_S):
        answer = await _exchange(directory, f"{verb} {version()} {container}\n".encode())
        if answer not in (b"", b"ok\n"):
            raise HostError(f"The log of {container} cannot be kept", hint=answer.decode().strip())
        return bool(answer)
    raise HostError(f"Whoever keeps the logs in {directory} does not answer")


async def _exchange(directory: Path, request: bytes) -> bytes:
    """Return the answer; nothing where there is none."""
    try:
        with _short(directory) as path:
            stream = await trio.open_unix_socket(path)
        async with stream:
            await stream.send_all(request)
            return bytes(await stream.receive_some(_ANSWER_BYTES))
    except (FileNotFoundError, ConnectionRefusedError, trio.BrokenResourceError):
        return b""


async def start(directory: Path) -> None:
    """Start the process, unless another one has started it meanwhile. Raises HostError, OSError.

    It opens at once what has a record in `directory`. Once begun it is not cancelled half way.
    """
    async with hold_lock(directory / "logger.lock", look_again_s=_LOOK_AGAIN_S):
        # An open socket is not enough: a process that was killed still listens for a moment.
        if await ask(directory, "here", ""):
            return
        with trio.CancelScope(shield=True), socket.socket(socket.AF_UNIX) as listener:
            _listen(directory, listener)
            await _spawn(directory, listener)


def _listen(directory: Path, listener: socket.socket) -> None:
    with _short(directory) as path:
        Path(path).unlink(missing_ok=True)
        listener.bind(path)
    listener.listen(_BACKLOG)


async def _spawn(directory: Path, listener: socket.socket) -> None:
    words = (logger.__file__, str(directory), str(listener.fileno()), version())
    with (directory / "logger.log").open("ab") as log:
        done = await trio.run_process(
            [sys.executable, "-I", "-S", *words],
            env={},
            cwd="/",
            pass_fds=(listener.fileno(),),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            check=False,
        )
    if done.returncode != 0:
        raise HostError(
            "Could not start what keeps the logs of containers",
            hint=f"What it printed is in {directory / 'logger.log'}.",
        )


@contextmanager
def _short(directory: Path) -> Iterator[str]:
    """The socket's path by the descriptor of its directory: 107 bytes are all it may have."""
    descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{SOCKET}"
    finally:
        os.close(descriptor)
