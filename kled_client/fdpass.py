"""Hand a connected socket to ssh, as its ProxyUseFdpass wants, or leave a pump behind.

ssh gives the proxy command a Unix socket as standard output and waits for one byte with one
descriptor (SCM_RIGHTS) and then for the command's end (OpenSSH, `ssh_proxy_fdpass_connect`).
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable

from kled_wire.errors import InputError, UnavailableError


def pass_descriptor(carrier: int, sock: socket.socket) -> None:
    """Send `sock` over the Unix socket `carrier`. Raises InputError and UnavailableError."""
    if not stat.S_ISSOCK(os.fstat(carrier).st_mode):
        raise InputError(
            "stdout_not_a_socket",
            "--fdpass needs a Unix socket as standard output",
            hint="it is for ssh's ProxyUseFdpass; leave it out here",
        )
    try:
        with socket.socket(fileno=os.dup(carrier)) as unix:
            socket.send_fds(unix, [b"\0"], [sock.fileno()])
    except OSError as exc:
        raise UnavailableError(
            "fdpass_failed", f"ssh does not take the connection: {exc.strerror}"
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
    session of its own (else the terminal's Ctrl-C would end it before ssh). It never returns.
    """
    ours, theirs = socket.socketpair()
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
        finally:
            os._exit(status)
    ours.close()
    with theirs:
        ready()
        pass_descriptor(carrier, theirs)
