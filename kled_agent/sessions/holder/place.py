"""What a holder keeps in its session's directory, which is its working directory.

`holder.json` says who it is, `s` is the socket, `output` the ring (ring.py). No path leads through
the directory's name, so a rename moves nothing; its removal ends the session.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket

from kled_agent.machine.descendants import start_mark

RECORD, SOCKET, OUTPUT, AGENT_LOCK = "holder.json", "s", "output", "agent.lock"


def agent_is_there() -> bool:
    """Every agent of this state directory holds a shared lock for as long as it lives."""
    try:
        lock = os.open(f"../{AGENT_LOCK}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(lock)
    return False


def write_record(name: str, shell: int, created_at: float) -> None:
    """Who holds this session, for agents to come."""
    table = {
        "name": name,
        "pid": os.getpid(),
        "mark": start_mark(os.getpid()),
        "shell_pid": shell,
        "created_at": created_at,
    }
    made = os.open(f"{RECORD}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(made, "w", encoding="utf-8") as file:
        json.dump(table, file)
    os.replace(f"{RECORD}.new", RECORD)  # noqa: PTH105 - in the cwd


def remove_files(name: str) -> None:
    """Remove the session's directory; once it has gone this changes nothing."""
    for file in (SOCKET, OUTPUT, RECORD):
        with contextlib.suppress(OSError):
            os.unlink(file)  # noqa: PTH108 - in the cwd
    with contextlib.suppress(OSError):
        os.rmdir(f"../{name}")  # noqa: PTH106 - beside the cwd, which leads nowhere when removed


def rename(name: str, new: str) -> bool:
    """Rename the directory; False where there is such a session already. Raises OSError."""
    if os.path.lexists(f"../{new}"):
        return False
    os.rename(f"../{name}", f"../{new}")  # noqa: PTH104 - beside the cwd
    return True


def is_removed() -> bool:
    """Whether somebody has removed the directory."""
    return not os.path.exists(SOCKET)  # noqa: PTH110 - the cwd, which may be gone


def listen() -> socket.socket:
    """The socket for clients. Raises OSError."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        # Relative: a path in a state directory may be longer than a socket's name may be.
        listener.bind(SOCKET)
    finally:
        os.umask(before)
    listener.listen(16)
    listener.setblocking(False)
    return listener
