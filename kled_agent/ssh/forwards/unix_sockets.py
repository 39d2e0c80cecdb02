"""Makes the Unix sockets of forwards as the calling process. Standard library only.

Each function may block: on a slow disk, or until a listener with a full queue accepts.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import struct
import tempfile
from pathlib import Path
from typing import Final

BACKLOG: Final = 1024
# How long a listener whose queue is full gets to accept.
CONNECT_S: Final = 10
_MODE: Final = 0o600


def connect(path: str) -> socket.socket:
    """A connection to the socket at `path`. Raises OSError.

    Blocking, because the kernel has no way to wait for room in a listener's queue without that
    (connect(2), EAGAIN).
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        limit = struct.pack("ll", CONNECT_S, 0)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        connection.connect(_checked(path))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 0, 0))
    except BaseException:
        connection.close()
        raise
    return connection


def listen(path: str) -> socket.socket:
    """A listener at `path` for its owner alone. Raises OSError.

    A socket that nobody listens on any more is replaced, one that answers never is.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        try:
            listener.bind(_checked(path))
        except OSError as exc:
            if exc.errno != errno.EADDRINUSE or not _is_dead(path):
                raise
            os.unlink(path)  # noqa: PTH108 - a path as the client wrote it
            listener.bind(path)
        # Until it listens nobody can connect.
        os.chmod(path, _MODE)  # noqa: PTH101
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def listen_privately() -> socket.socket:
    """A listener in a new directory that its owner alone may enter. Raises OSError."""
    directory = tempfile.mkdtemp(prefix="ssh-")
    try:
        return listen(f"{directory}/agent.{os.getpid()}")
    except BaseException:
        os.rmdir(directory)  # noqa: PTH106
        raise


def remove(path: str, *, private: bool) -> None:
    """Take away what `listen` or `listen_privately` left, unless another took its place."""
    try:
        if stat.S_ISSOCK(os.lstat(path).st_mode) and _is_dead(path):
            os.unlink(path)  # noqa: PTH108
        if private:
            os.rmdir(Path(path).parent)  # noqa: PTH106
    except OSError:
        return  # somebody else has done so


def _checked(path: str) -> str:
    # A name that begins with NUL lies in no directory, and no permission guards it (unix(7)).
    if not path or "\0" in path:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)
    return path


def _is_dead(path: str) -> bool:
    """Whether `path` is a socket that nobody listens on."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            return False
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.setblocking(False)
            probe.connect(path)
    except ConnectionRefusedError:
        return True
    except OSError:
        return False  # EAGAIN: it is alive, and has much to do
    return False
