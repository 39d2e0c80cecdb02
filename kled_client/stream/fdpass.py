"""Hand a connected socket to ssh, as its ProxyUseFdpass wants, or leave a pump behind.

ssh gives the proxy command a Unix socket as standard output and waits for one byte with one
descriptor (SCM_RIGHTS) and then for the command's end (OpenSSH, `ssh_proxy_fdpass_connect`).
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable
from contextlib import suppress

from kled_wire.errors import KledError, UnavailableError


def takes_descriptor(source: int, sink: int) -> bool:
    """Whether who gave us these standard streams is ssh and waits for a descriptor.

    ssh gives one Unix socket as both. Pipes, and the two sockets that Node.js gives, carry bytes.
    """
    given = os.fstat(sink)
    if not stat.S_ISSOCK(given.st_mode) or not os.path.samestat(given, os.fstat(source)):
        return False
    with socket.socket(fileno=os.dup(sink)) as carrier:
        return carrier.family == socket.AF_UNIX


def pass_descriptor(carrier: int, sock: socket.socket) -> None:
    """Send `sock` over the Unix socket `carrier`. Raises UnavailableError."""
    try:
        with socket.socket(fileno=os.dup(carrier)) as unix:
            socket.send_fds(unix, [b"\0"], [sock.fileno()])
    except OSError as exc:
        raise UnavailableError(
            "fdpass_failed", f"cannot pass the connection to ssh: {exc.strerror}"
        ) from exc


def pass_through_child(
    carrier: int,
    work: Callable[[socket.socket], None],
    *,
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Give ssh one end of a socket pair and run `work` on the other in a process left behind.

    `ready` waits in this process until ssh may have its end, or raises.

    The child has no standard streams (else whoever reads ssh's output would wait for it) and a
    session of its own (else the terminal's Ctrl-C would end it before ssh). It never returns. A
    KledError of `work` is said on ssh's terminal, if there is one: ssh itself sees only an end.
    """
    ours, theirs = socket.socketpair()
    ssh, terminal = os.getppid(), _terminal()
    if os.fork() == 0:
        status = 1
        try:
            theirs.close()
            os.setsid()
            null = os.open(os.devnull, os.O_RDWR)
            for descriptor in (0, 1, 2):
                os.dup2(null, descriptor)
            work(ours)
            status = 0
        except KledError as exc:
            _tell(ssh, terminal, exc)
        finally:
            os._exit(status)
    ours.close()
    with theirs:
        ready()
        pass_descriptor(carrier, theirs)


def _terminal() -> str | None:
    try:
        return os.ttyname(2)
    except OSError:
        return None


def _tell(ssh: int, terminal: str | None, error: KledError) -> None:
    """Only while the ssh that started us is there: behind its end the terminal is somebody else's.

    One that stays behind for later connections (ControlPersist) is another process.
    """
    if terminal is None:
        return
    with suppress(OSError):
        os.kill(ssh, 0)
        descriptor = os.open(terminal, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
        # ssh has it in raw mode, where nothing goes back to the margin by itself.
        os.write(descriptor, f"\r\nkled: {error.shown()}\r\n".encode())
        os.close(descriptor)
