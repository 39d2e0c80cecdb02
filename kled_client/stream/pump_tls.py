"""Move bytes between a socket pair's end and a TLS connection, in one thread.

An OpenSSL connection must not be read and written from two threads at once, so this one waits
with poll(2) for both directions. Stdlib only.
"""

from __future__ import annotations

import select
import socket
import ssl
from collections.abc import Callable

from kled_wire.limits import COPY_CHUNK_BYTES


def pump_tls(local: socket.socket, secured: ssl.SSLSocket, *, first: bytes = b"") -> None:
    """Join a socket and a TLS connection until both directions ended or one side broke.

    `local` closed as a whole (POLLHUP) ends everything; its half-close becomes close_notify.
    """
    local.setblocking(False)
    secured.setblocking(False)
    up, down = _Way(), _Way(pending=first)
    while not (up.ended and down.ended):
        try:
            _read_into(up, local.recv)
            _write_from(up, secured.send, lambda: _say_goodbye(secured, down))
            _read_into(down, secured.recv)
            _write_from(down, local.send, lambda: local.shutdown(socket.SHUT_WR))
        except OSError:
            return
        if not _wait(local, secured, up, down):
            return


class _Way:
    """One direction: what was read and not yet written, and how far its end has come."""

    def __init__(self, pending: bytes = b"") -> None:
        self.pending = pending
        self.eof = False
        self.ended = False


def _read_into(way: _Way, recv: Callable[[int], bytes]) -> None:
    if way.pending or way.eof:
        return
    try:
        way.pending = recv(COPY_CHUNK_BYTES)
    except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
        return
    except ssl.SSLEOFError:
        # The peer closed without close_notify; SSH inside notices truncation by itself.
        way.pending = b""
    way.eof = not way.pending


def _write_from(way: _Way, send: Callable[[bytes], int], finish: Callable[[], None]) -> None:
    try:
        while way.pending:
            way.pending = way.pending[send(way.pending) :]
    except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
        return
    if way.eof and not way.ended:
        way.ended = True
        finish()


def _say_goodbye(secured: ssl.SSLSocket, down: _Way) -> None:
    """Send close_notify.

    `unwrap` also reads, for the peer's close_notify, and drops data that it finds in its place:
    what has come is therefore read first. Data that comes in between is lost, which is why a
    stream over TLS is resumable unless told otherwise: its half-close is a frame.
    """
    try:
        while not down.eof:
            data = secured.recv(COPY_CHUNK_BYTES)
            down.pending += data
            down.eof = not data
    except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
        pass  # no more has come
    except ssl.SSLEOFError:
        down.eof = True
    try:
        secured.unwrap()
    except (ssl.SSLError, ValueError):
        # unwrap wants the peer's close_notify too; ours has been sent, and reading goes on.
        return


def _wait(local: socket.socket, secured: ssl.SSLSocket, up: _Way, down: _Way) -> bool:
    """Sleep until something can move. False when `local` was closed as a whole."""
    if secured.pending() and not down.pending:
        return True
    poll = select.poll()
    reading = 0 if up.pending or up.eof else select.POLLIN
    poll.register(local, reading | (select.POLLOUT if down.pending else 0))
    wanted = 0 if down.pending or down.eof else select.POLLIN
    poll.register(secured, wanted | (select.POLLOUT if up.pending else 0))
    for descriptor, events in poll.poll():
        if descriptor == local.fileno() and events & select.POLLHUP and not reading:
            return False
    return True
