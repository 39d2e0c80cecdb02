"""Moves bytes between a connection and its plain end through a layer, and names what to poll.

Nothing here blocks: `step` does what can be done, `interest` says which readiness of a socket is
worth waking up for. A direction is read only while nothing of it waits to be written, so that a
connection holds one read of each at most, and what the layer has answered of its own.
"""

from __future__ import annotations

import contextlib
import select
import socket
from typing import Final

from kled_coord.offload.layer import Layer, LayerBrokenError
from kled_coord.sidecars.loop import GONE
from kled_wire.transport.vector import write_vector

# One read. Larger ones gain nothing where every record of 16 KiB is looked at, and the allocator
# would map each anew.
CHUNK_BYTES: Final = 64 * 1024
# A peer that wants answers and does not take them (pings, for instance) is not read from here on.
# More than what waits for it otherwise, or its two directions would depend on each other.
_UNTAKEN_MAX_BYTES: Final = 2 * CHUNK_BYTES
_READABLE: Final = select.EPOLLIN | GONE


class OffloadedConnection:
    """`outer` is the peer's, `inner` our end of a Unix socket pair; both are ours to close.

    `step` and `begin` raise OSError or LayerBrokenError when the connection is broken: what the
    other end of `inner` reads then ends, and what it writes fails.
    """

    __slots__ = (
        "_closed",
        "_draining",
        "_inner_ended",
        "_inner_gone",
        "_layer",
        "_outer_gone",
        "_passed_on",
        "_to_inner",
        "_to_outer",
        "inner",
        "moved",
        "outer",
    )

    def __init__(self, outer: socket.socket, inner: socket.socket, layer: Layer) -> None:
        self.outer = outer
        self.inner = inner
        self.moved = 0
        self._layer = layer
        self._to_inner: list[bytes | memoryview] = []
        self._to_outer: list[bytes | memoryview] = []
        # Nobody writes to the other end of `inner` any more; nobody reads from it either.
        self._inner_ended = False
        self._inner_gone = False
        # The peer is dead, said once: it may have been busy with what came before.
        self._outer_gone = False
        # The peer's half-close has been passed on; the layer has been told that it is over.
        self._passed_on = False
        self._closed = False
        # Whether the peer, told of the end, is read for nobody; None until it has been told.
        self._draining: bool | None = None

    @property
    def done(self) -> bool:
        """Whether both directions have ended, or nobody is left to give anything to."""
        if not self._inner_ended or self._to_outer or self._draining:
            return False
        return self._inner_gone or self._passed_on

    @property
    def lingering(self) -> bool:
        """Whether all that is left is what the peer has not yet taken, or still sends."""
        return self._inner_gone and bool(self._to_outer or self._draining)

    def begin(self, ahead: bytes) -> None:
        """Take what was read of the connection before it came here."""
        if ahead:
            self._take_in(ahead)

    def step(self, descriptor: int, events: int) -> None:
        """Do what `events` of epoll(7) allow, for one of the two sockets."""
        if descriptor == self.outer.fileno():
            self._step_outer(events)
        else:
            self._step_inner(events)
        if self._draining is not None:
            return
        if self._outer_gone and not (self._to_inner or self._reads_outer()):
            raise ConnectionResetError("the peer is gone")
        if self._inner_ended and self._inner_gone and not self._closed:
            self._closed = True
            self._layer.close()
            self._flush_outer()
        if self.done:
            self._drain()

    def interest(self, descriptor: int) -> int:
        """The epoll events to wait for on one of the sockets; 0 where there is nothing to do."""
        if descriptor == self.outer.fileno():
            wanted = select.EPOLLIN if self._reads_outer() else 0
            return wanted | (select.EPOLLOUT if self._to_outer else 0)
        wanted = select.EPOLLIN if self._reads_inner() else 0
        return wanted | (select.EPOLLOUT if self._to_inner else 0)

    def close(self) -> None:
        """End both, also where another process still holds a copy."""
        for end in (self.outer, self.inner):
            with contextlib.suppress(OSError):  # it may be down already
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def break_off(self) -> None:
        """Say to the peer what the layer has left to say, as far as it goes at once."""
        with contextlib.suppress(OSError):
            self._flush_outer()

    def _reads_outer(self) -> bool:
        if self._draining:
            return True
        if self._to_inner or self._layer.ended or self._inner_gone:
            return False
        return sum(map(len, self._to_outer)) <= _UNTAKEN_MAX_BYTES

    def _reads_inner(self) -> bool:
        return self._layer.open and not (self._to_outer or self._inner_ended)

    def _step_outer(self, events: int) -> None:
        if events & select.EPOLLOUT:
            self._flush_outer()
        self._outer_gone = self._outer_gone or bool(events & GONE)
        if events & _READABLE and self._reads_outer():
            with contextlib.suppress(BlockingIOError):
                self._take_in(self.outer.recv(CHUNK_BYTES))

    def _drain(self) -> None:
        """Nobody reads what the peer sends; take it all the same while more comes.

        To close a socket with something unread is a reset, and that takes the last bytes along.
        """
        self._draining = False
        if self._layer.open and not self._layer.ended:
            self.outer.shutdown(socket.SHUT_WR)
            with contextlib.suppress(BlockingIOError):
                self._draining = bool(self.outer.recv(CHUNK_BYTES))

    def _take_in(self, data: bytes) -> None:
        self.moved += len(data)
        if self._draining:
            self._draining = bool(data)
            return
        if not data and not self._layer.open:
            raise LayerBrokenError("the connection ended before it was open")
        self._to_inner += self._layer.receive(data)
        self._flush_inner()
        self._flush_outer()

    def _step_inner(self, events: int) -> None:
        if events & select.EPOLLOUT:
            self._flush_inner()
        if events & GONE:
            self._inner_gone = True
            self._to_inner.clear()
        if events & _READABLE and self._reads_inner():
            self._read_inner()
        elif not self._layer.open and self._inner_gone:
            self._inner_ended = True

    def _read_inner(self) -> None:
        try:
            data = self.inner.recv(CHUNK_BYTES)
        except BlockingIOError:
            return
        except ConnectionResetError:
            # Closed with something unread. What was written before that still goes to the peer, but
            # not the words of an end in good order.
            self._inner_ended = self._inner_gone = self._closed = True
            return
        self._take_out(data)

    def _take_out(self, data: bytes) -> None:
        if data and self._layer.finished:
            raise ConnectionResetError("the peer takes no more")
        if data:
            self._layer.send(data)
            self.moved += len(data)
        else:
            self._inner_ended = True
            self._layer.send_eof()
        self._flush_outer()

    def _flush_outer(self) -> None:
        if data := self._layer.take():
            # Joined into one piece, however many answers there are.
            self._to_outer = [b"".join((*self._to_outer, data))]
        if self._to_outer:
            self._to_outer = write_vector(self.outer.fileno(), self._to_outer)

    def _flush_inner(self) -> None:
        try:
            if self._to_inner:
                self._to_inner = write_vector(self.inner.fileno(), self._to_inner)
            if self._layer.ended and not self._to_inner and not self._passed_on:
                self._passed_on = True
                self.inner.shutdown(socket.SHUT_WR)
        except (BrokenPipeError, ConnectionResetError):
            # Nobody reads any more; what has been written to us still goes to the peer.
            self._inner_gone = True
            self._to_inner.clear()
