"""Move bytes between `kled stream`'s own streams and its connection. Blocking, stdlib only.

Two threads with blocking calls serve plain descriptors: nothing is set non-blocking, which on a
shared terminal would break other programs.
"""

from __future__ import annotations

import os
import select
import socket
import stat
import sys
import threading
from collections.abc import Callable
from contextlib import suppress

from kled_wire.errors import KledError
from kled_wire.limits import COPY_CHUNK_BYTES

_LAST_WORDS_S = 1.0


def pump_stdio(sock: socket.socket, source: int, sink: int, *, first: bytes = b"") -> None:
    """Join descriptors `source` and `sink` with `sock` until the peer has ended.

    `first` came from the peer already. A half-close is passed on in both directions. When the
    peer has ended, what `source` still holds is sent for as long as the peer takes it.
    """
    sock.settimeout(None)
    sender = threading.Thread(target=_send, args=(source, sock), daemon=True)
    sender.start()
    try:
        _write_all(sink, memoryview(first))
        _copy(sock.fileno(), sink)
    except (BrokenPipeError, ConnectionResetError):
        # Nobody reads our output any more: end, as cat would.
        return
    # ssh closes our input when it sees our output end.
    _end(sink)
    sender.join()


def pump_beside(
    work: Callable[[socket.socket], None], *, ready: Callable[[], None] = lambda: None
) -> None:
    """Join our standard streams with `work`, which gets a socket and runs in a thread.

    `ready` waits until there is something to join, or raises. Raises SystemExit after a KledError
    of `work`, which is said at once: at the end of our output ssh ends, and us with it.
    """
    near, far = socket.socketpair()
    failed: list[KledError] = []

    def beside() -> None:
        with far:
            try:
                work(far)
            except KledError as exc:
                os.write(sys.stderr.fileno(), f"\r\nkled: {exc.shown()}\r\n".encode())
                failed.append(exc)

    working = threading.Thread(target=beside, daemon=True)
    working.start()
    ready()
    pump_stdio(near, sys.stdin.fileno(), sys.stdout.fileno())
    near.close()
    # The thread has ended or sees the end now; the reason of a failure comes a moment after ours.
    working.join(_LAST_WORDS_S)
    if failed:
        raise SystemExit(failed[0].exit_code)


def _send(source: int, sock: socket.socket) -> None:
    # An error means that one side is gone. Where it is ours, the peer must learn it; where it is
    # the peer, the reading side meets the same and ends the program.
    with suppress(OSError):
        _copy(source, sock.fileno())
    with suppress(OSError):
        sock.shutdown(socket.SHUT_WR)


def _copy(source: int, sink: int) -> None:
    """Copy to the end of `source`.

    Not by splice(2): between a pipe and a busy TCP socket it stalled (Linux 6.18, both directions
    full), and ssh's own way, --fdpass, has no copy at all.
    """
    while data := _read(source):
        _write_all(sink, memoryview(data))


def _read(source: int) -> bytes:
    while True:
        try:
            return os.read(source, COPY_CHUNK_BYTES)
        except BlockingIOError:
            _wait_for(source, select.POLLIN)


def _write_all(sink: int, data: memoryview) -> None:
    while data:
        try:
            data = data[os.write(sink, data) :]
        except BlockingIOError:
            _wait_for(sink, select.POLLOUT)


def _wait_for(descriptor: int, event: int) -> None:
    poll = select.poll()
    poll.register(descriptor, event)
    poll.poll()


def _end(sink: int) -> None:
    """Let the reader of `sink` see the end, also where other descriptors share its socket."""
    if stat.S_ISSOCK(os.fstat(sink).st_mode):
        with socket.socket(fileno=os.dup(sink)) as shared:
            shared.shutdown(socket.SHUT_WR)
    os.close(sink)
