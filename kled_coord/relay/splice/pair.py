"""Two sockets joined in the kernel: which bytes to splice now, and which events to wait for.

splice(2) wants a pipe on one side, so each direction has one. Nothing here blocks: `step` does what
can be done, `interest` says which readiness of a socket is worth waking up for.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import socket
from typing import Final

from kled_wire import limits

_FLAGS: Final = os.SPLICE_F_NONBLOCK | os.SPLICE_F_MOVE
_FIRST_BYTES: Final = 64 * 1024  # what a new pipe holds, pipe(7)
# A direction that has moved this much is bulk, and gets a larger pipe.
_BULK_BYTES: Final = 1024 * 1024


class Direction:
    """Moves bytes from one socket to the other through a pipe, which is empty between steps."""

    __slots__ = (
        "_capacity",
        "_read_end",
        "_sink",
        "_source",
        "_write_end",
        "done",
        "held",
        "moved",
    )

    def __init__(self, source: socket.socket, sink: socket.socket) -> None:
        self._source = source
        self._sink = sink
        self._read_end, self._write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._capacity = _FIRST_BYTES
        self.held = 0
        self.moved = 0
        self.done = False

    @property
    def taken(self) -> int:
        """Bytes that have come out of the source."""
        return self.moved + self.held

    def step(self, most: int = limits.SPLICE_PIPE_BYTES) -> None:
        """Move one pipe's worth, or carry the half-close through. Raises OSError."""
        if self.done:
            return
        if not self.held:
            try:
                self.held = os.splice(
                    self._source.fileno(), self._write_end, min(self._capacity, most), flags=_FLAGS
                )
            except BlockingIOError:
                return
            if not self.held:
                self.done = True
                self._sink.shutdown(socket.SHUT_WR)
                return
        self._empty()

    def _empty(self) -> None:
        try:
            while self.held:
                sent = os.splice(self._read_end, self._sink.fileno(), self.held, flags=_FLAGS)
                self.held -= sent
                self.moved += sent
        except BlockingIOError:
            return
        if self.moved > _BULK_BYTES and self._capacity == _FIRST_BYTES:
            self._widen()

    def _widen(self) -> None:
        """A larger pipe where the user's budget (pipe(7), pipe-user-pages-soft) allows it."""
        try:
            self._capacity = fcntl.fcntl(
                self._write_end, fcntl.F_SETPIPE_SZ, limits.SPLICE_PIPE_BYTES
            )
        except OSError:
            self._capacity = _FIRST_BYTES + 1  # tried once; the first size works too

    def close(self) -> None:
        """Close the pipe."""
        os.close(self._read_end)
        os.close(self._write_end)


class Pair:
    """A client's and an agent's socket, both ours to close. Raises OSError for want of pipes."""

    __slots__ = ("agent", "client", "to_agent", "to_client")

    def __init__(self, client: socket.socket, agent: socket.socket) -> None:
        self.client = client
        self.agent = agent
        self.to_agent = Direction(client, agent)
        try:
            self.to_client = Direction(agent, client)
        except OSError:
            self.to_agent.close()
            raise

    @property
    def done(self) -> bool:
        """Whether both directions have ended."""
        return self.to_agent.done and self.to_client.done

    def out_of(self, descriptor: int) -> Direction:
        """The direction that begins at this socket."""
        return self.to_client if descriptor == self.agent.fileno() else self.to_agent

    def step(self, descriptor: int, events: int, most: int = limits.SPLICE_PIPE_BYTES) -> None:
        """React to readiness of one of the sockets, taking at most so much out of it.

        Raises OSError when the pair is broken.
        """
        outward, inward = self.to_agent, self.to_client
        if descriptor == self.agent.fileno():
            outward, inward = inward, outward
        if events & select.EPOLLOUT:
            inward.step()
        if events & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR):
            before = outward.moved
            outward.step(most)
            # A socket that reports its death and has nothing to give would wake us for ever. One
            # whose pipe has just been emptied was not asked: the rest waits in its queue.
            gone = events & (select.EPOLLHUP | select.EPOLLERR)
            if gone and outward.moved == before and not outward.held:
                inward.step()
                if not self.done:
                    raise ConnectionResetError("the peer is gone")

    def interest(self, descriptor: int) -> int:
        """The epoll events to wait for on one of the sockets."""
        outward, inward = self.to_agent, self.to_client
        if descriptor == self.agent.fileno():
            outward, inward = inward, outward
        wanted = 0 if outward.held or outward.done else select.EPOLLIN
        return wanted | select.EPOLLOUT if inward.held else wanted

    def close(self) -> None:
        """End both connections, also where another process still holds a copy."""
        for end in (self.client, self.agent):
            with contextlib.suppress(OSError):  # it may be down already
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self.to_agent.close()
        self.to_client.close()
