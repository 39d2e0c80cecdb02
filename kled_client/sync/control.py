"""Asking the background process, which is started where it does not run yet."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from typing import Any, Final

from kled_client.sync.background import (
    of_another_version,
    only_one,
    short_name,
    socket_path,
)
from kled_client.sync.sessions import SessionStore, state_unusable
from kled_sync.files.root import sync_home
from kled_wire.errors import ConflictError, KledError, UnavailableError, from_status
from kled_wire.version import SOFTWARE_VERSION

_START_S: Final = 20.0
_PAUSE_S: Final = 0.05
# Requests for which the background process waits for nothing, and how long it may still take.
_ANSWERED_AT_ONCE: Final = ("list", "status")
_SILENT_MAX_S: Final = 20.0
# Error codes of a process of another version; the second is of versions that find no version in a
# line.
_OTHER_CODES: Final = ("sync_background_older", "sync_request_unknown")


def ask(env: Mapping[str, str], do: str, *, start: bool = True, **request: Any) -> dict[str, Any]:
    """One answer. Blocks. Raises KledError."""
    for line in stream(env, do, start=start, **request):
        return line
    raise _ended()


def stream(
    env: Mapping[str, str], do: str, *, start: bool = True, **request: Any
) -> Iterator[dict[str, Any]]:
    """Answers, until there are no more. Blocks. Raises KledError.

    A background process of another version, whose answers have other fields, is ended first.
    """
    asked = {"version": SOFTWARE_VERSION, "request": {"do": do, **request}}
    line = json.dumps(asked).encode() + b"\n"
    for is_first in (True, False):
        with closing(_connect(env, start=start)) as sock:
            sock.settimeout(_SILENT_MAX_S if do in _ANSWERED_AT_ONCE else None)
            try:
                yield from _answers(sock, line)
                return
            except ConnectionError as exc:
                # The process ended before it read the line, so it has done nothing.
                if not is_first:
                    raise _ended() from exc
                continue
            except TimeoutError as exc:
                raise _silent() from exc
            except KledError as exc:
                if exc.code not in _OTHER_CODES or not is_first:
                    raise
                process = _process_at(sock, start=start)
        _end(env, process)


def _ended() -> UnavailableError:
    return UnavailableError(
        "sync_background_gone",
        "the background process of the syncs ended",
        hint="kled sync list starts it again",
    )


def _silent() -> UnavailableError:
    return UnavailableError(
        "sync_background_silent",
        f"the background process of the syncs has not answered for {_SILENT_MAX_S:.0f} s",
        hint="it is stopped, or waits for a disk: kill it (ps ax | grep 'sync background'), then "
        "kled sync list starts it again",
    )


def _answers(sock: socket.socket, line: bytes) -> Iterator[dict[str, Any]]:
    """Raises KledError and ConnectionError."""
    sock.sendall(line)
    with sock.makefile("rb") as file:
        for answer in file:
            yield _parse(answer)


def _parse(line: bytes) -> dict[str, Any]:
    """Raises KledError."""
    answer: dict[str, Any] = json.loads(line)
    error = answer.get("error")
    if isinstance(error, dict):
        raise from_status(error["status"], error["code"], error["message"], error["hint"])
    return answer


def _process_at(sock: socket.socket, *, start: bool) -> int:
    """Who is at the other end, to be ended. Raises UnavailableError where nobody may end it."""
    # Where the system does not tell it, the person has to end it.
    option = getattr(socket, "SO_PEERCRED", None)
    if not start or option is None:
        raise of_another_version()
    peer: int = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, option, 12))[0]
    return peer


def _end(env: Mapping[str, str], process: int) -> None:
    """End a background process. Raises UnavailableError where it does not."""
    with suppress(ProcessLookupError):
        os.kill(process, signal.SIGTERM)
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        with suppress(ConflictError), only_one(sync_home(env)):
            return
        time.sleep(_PAUSE_S)
    raise of_another_version()


def _connect(env: Mapping[str, str], *, start: bool) -> socket.socket:
    deadline = time.monotonic() + _START_S
    process: subprocess.Popen[bytes] | None = None
    try:
        while True:
            with suppress(OSError):
                return _try_connect(env)
            if not start:
                raise UnavailableError(
                    "sync_background_gone",
                    "the background process of the syncs does not run",
                    hint="kled sync list starts it",
                )
            # A process that is still ending keeps the new one from starting: start it again.
            if process is None or process.poll() == ConflictError.exit_code:
                process = _begin(env)
            if process.poll() not in (None, ConflictError.exit_code) or time.monotonic() > deadline:
                raise _not_started(env)
            time.sleep(_PAUSE_S)
    finally:
        if process is not None:
            process.returncode = 0  # nobody here waits for it, and it is no mistake that it goes on


def _not_started(env: Mapping[str, str]) -> UnavailableError:
    log = sync_home(env) / "background.log"
    return UnavailableError(
        "sync_background_gone",
        f"the background process of the syncs does not start: {_last_words(log)}",
        hint=f"{log} may say more",
    )


def _last_words(log: os.PathLike[str]) -> str:
    with suppress(OSError), open(log, encoding="utf-8", errors="replace") as file:  # noqa: PTH123
        lines = file.read()[-2000:].strip().splitlines()
        if lines:
            return lines[-1]
    return "it says nothing"


def _try_connect(env: Mapping[str, str]) -> socket.socket:
    path = socket_path(sync_home(env))
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.connect(short_name(directory, path))
        except OSError:
            sock.close()
            raise
        return sock
    finally:
        os.close(directory)


def _begin(env: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """It outlives us and the terminal, and belongs to no directory. Raises UnavailableError."""
    home = sync_home(env)
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        opened = (home / "background.log").open("wb")
    except OSError as exc:
        raise state_unusable(exc, str(home)) from exc
    with opened as log:
        return subprocess.Popen(
            [sys.executable, "-m", "kled_client", "sync", "background"],
            env=dict(env),
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def known_names(env: Mapping[str, str]) -> list[str]:
    """The names of all syncs, without asking the background process."""
    return SessionStore(sync_home(env)).names()
