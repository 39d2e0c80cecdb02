"""Carry ssh's bytes over a resumable stream: one loop, the standard library only.

`kled stream` leaves this running beside ssh for as long as the connection lasts. Transports come
and go; ssh sees one unbroken socket. What one end knows and decides is kled_wire/resume's state;
here are the sockets, the clock and the redialling.
"""

from __future__ import annotations

import os
import random
import select
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from kled_client.stream.direct import DirectSide
from kled_wire.errors import (
    KledError,
    ProtocolError,
    UnavailableError,
)
from kled_wire.resume.direct.paths import SETTLE_S, Paths
from kled_wire.resume.frames import NONCE_BYTES, READ_BYTES, New, encode_greeting
from kled_wire.resume.retry import is_final, make_redials
from kled_wire.resume.state import UNSENT_BYTES, StreamState
from kled_wire.transport.blocks import keep_blocks
from kled_wire.transport.vector import write_vector

if TYPE_CHECKING:
    from kled_client.stream.race import DirectConnection

_GREETING_TIMEOUT_S = 20.0


class Transport(NamedTuple):
    """A connection that has been upgraded, and what was read past the head."""

    sock: socket.socket
    first: bytes


class Lost(Exception):  # noqa: N818 - a fact, not a fault
    """The transport has ended and the stream has not."""


class _PollSet:
    """A poll object that knows what it watches: in the steady state nothing changes."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._masks: dict[int, int] = {}

    def want(self, masks: dict[int, int]) -> None:
        """Watch these descriptors for these events, and nothing else."""
        if masks == self._masks:
            return
        for descriptor in self._masks.keys() - masks.keys():
            self._poll.unregister(descriptor)
        for descriptor, mask in masks.items():
            self._poll.register(descriptor, mask)
        self._masks = masks

    def poll(self, seconds: float) -> list[tuple[int, int]]:
        """What has happened, after `seconds` at the latest."""
        return self._poll.poll(seconds * 1000)


class Pump:
    """One stream between `local`, which is ssh's, and transports from `dial`."""

    def __init__(self, local: socket.socket, dial: Callable[[], Transport], paths: Paths) -> None:
        self._local = local
        self._dial = dial
        self._new = New.draw(os.urandom)
        # Whether the agent is still to be told of it.
        self._is_new = True
        self._state = StreamState()
        self._direct = DirectSide(paths, self._new, self._state)
        # A direct path that is to get the stream now.
        self._winner: DirectConnection | None = None
        self._to_local: list[bytes | memoryview] = []
        self._local_ended = False
        self._told_end = False
        self._unsent: list[bytes | memoryview] = []
        local.setblocking(False)

    def run(self, first: Transport) -> None:
        """Carry until the stream is over, beginning on `first`. Raises KledError at a final end."""
        keep_blocks()
        try:
            self._run(first)
        finally:
            self._direct.close()
            if self._winner is not None:
                self._winner.sock.close()

    def _run(self, first: Transport) -> None:
        transport: Transport | None = first
        redials, begun = make_redials(random.random), False
        while not self._state.over:
            before, good = self._state.progress, False
            resumes = not self._is_new
            try:
                if self._winner is None:
                    transport = transport or self._dial()
                    with transport.sock:
                        self._direct.relay_greets()
                        rest, begun = self._greet(transport), True
                        # A peer that can answer a resume is the agent.
                        good = resumes
                        self._carry(transport.sock, rest)
                if self._winner is not None:
                    good = True
                    self._carry_directly(self._winner)
                continue
            except (Lost, OSError):
                pass  # another transport is dialled below
            except KledError as exc:
                if is_final(exc, begun=begun):
                    raise
            self._direct.relay_lost()
            transport = None
            good = good or self._state.progress > before
            wait_s = (redials.lost if good else redials.failed)(time.monotonic())
            if not self._wait(wait_s, patient=redials.failures > 1):
                return
        self._finish()
        closed = self._state.closed
        if closed is not None and closed.code == "port_unreachable":
            raise UnavailableError(
                closed.code, closed.message, hint="kled ports lists what listens"
            )

    def _finish(self) -> None:
        """The stream is over: give ssh the rest of what came, however long it takes to read it."""
        self._local.setblocking(True)
        try:
            for piece in self._to_local:
                self._local.sendall(piece)
            self._local.shutdown(socket.SHUT_WR)
        except OSError:
            return  # ssh has gone

    def _wait(self, seconds: float, *, patient: bool) -> bool:
        """Wait before the next dial, or until there is a direct path; False when ssh has gone.

        With `patient`, an attempt to find such a path is seen to its end: dialling blocks.
        """
        watched = _PollSet()
        now = time.monotonic()
        deadline = now + seconds
        while True:
            changes = self._direct.changes
            self._winner = self._direct.step(now)
            over = now >= deadline and not (patient and self._direct.racing)
            if self._winner is not None or over:
                return True
            watched.want({self._local.fileno(): 0, **dict(self._direct.watched())})
            wake_at = self._direct.wake_at()
            until = min(deadline, wake_at) if now < deadline else wake_at
            for descriptor, _ in watched.poll(max(0.0, until - now)):
                if descriptor == self._local.fileno():
                    return False
                self._direct.handle(descriptor, time.monotonic())
            now = time.monotonic()
            if self._direct.changes != changes:
                # An address or route that was missing may exist now.
                deadline = min(deadline, now + SETTLE_S)

    def _carry_directly(self, winner: DirectConnection) -> None:
        """Take the stream over to a direct path and carry it there; raises Lost at its end."""
        reason = "closed"
        self._winner = None
        with winner.sock:
            try:
                winner.sock.sendall(winner.agent.proof)
                _shorten_queue(winner.sock)
                self._state.attach(winner.agent.position, time.monotonic(), direct=True)
                self._unsent = []
                self._direct.moved(winner, time.monotonic())
                self._carry(winner.sock, winner.agent.rest)
            except (Lost, OSError, ProtocolError) as exc:
                reason = str(exc) or reason
                raise Lost(reason) from exc
            finally:
                self._direct.lost(reason, time.monotonic())

    def _greet(self, transport: Transport) -> bytes:
        """Begin the stream or go on with it; returns what was read past the greeting."""
        sock, state = transport.sock, self._state
        sock.settimeout(_GREETING_TIMEOUT_S)
        if self._is_new:
            sock.sendall(encode_greeting(self._new))
            self._is_new = False
            position, rest = 0, transport.first
        else:
            try:
                position, rest = self._go_on(transport)
            except UnavailableError as exc:
                if exc.code != "unknown_stream" or state.touched:
                    raise
                # Our first hello never arrived; nothing was said yet, so it can be said again.
                self._is_new = True
                raise Lost from exc
        sock.setblocking(False)
        _shorten_queue(sock)
        state.attach(position, time.monotonic())
        self._unsent = []
        return rest

    def _go_on(self, transport: Transport) -> tuple[int, bytes]:
        """The agent's position, and what was read past its answer."""
        from kled_wire.resume.proof import ClientGreeting

        position, sock = self._state.inbox.position, transport.sock
        greeting = ClientGreeting(self._new, position, os.urandom(NONCE_BYTES))
        sock.sendall(greeting.request)
        agent = greeting.feed(transport.first)
        while agent is None:
            data = sock.recv(READ_BYTES)
            if not data:
                raise ConnectionResetError("the transport ended before the greeting")
            agent = greeting.feed(data)
        sock.sendall(agent.proof)
        return agent.position, agent.rest

    def _carry(self, sock: socket.socket, rest: bytes) -> None:
        """Move bytes both ways until the stream is over, or a direct path is found (`_winner`).

        Raises Lost before that.
        """
        self._direct.carried_by(sock)
        try:
            self._arrived(rest)
            self._flush(sock)
            watched = _PollSet()
            while not self._state.over:
                watched.want(self._wanted(sock))
                for descriptor, events in watched.poll(self._timeout_s()):
                    if descriptor == self._local.fileno():
                        self._step_local(events, sock)
                    elif descriptor == sock.fileno():
                        self._step_transport(events, sock)
                    elif not self._direct.handle(descriptor, time.monotonic()):
                        raise Lost("the network has changed")
                if not self._state.tick(time.monotonic()):
                    raise Lost("silent")
                self._flush(sock)
                self._winner = self._direct.step(time.monotonic())
                if self._winner is not None:
                    return
        except ProtocolError as exc:
            raise Lost from exc
        finally:
            self._state.detach()
            self._direct.carried_by(None)

    def _timeout_s(self) -> float:
        now = time.monotonic()
        return max(0.0, min(self._state.wake_at(now), self._direct.wake_at()) - now)

    def _wanted(self, sock: socket.socket) -> dict[int, int]:
        """What can be acted upon: descriptors and events."""
        reading = not self._local_ended and self._state.closed is None
        local = select.POLLIN if reading and self._state.room > 0 else 0
        local |= select.POLLOUT if self._to_local else 0
        remote = select.POLLIN
        remote |= select.POLLOUT if self._unsent or self._state.due(time.monotonic()) else 0
        ours = {self._local.fileno(): local, sock.fileno(): remote}
        return ours | dict(self._direct.watched())

    def _step_local(self, events: int, sock: socket.socket) -> None:
        if events & select.POLLOUT:
            self._deliver()
        if self._state.closed is not None:
            return  # the other end of the same poll: what ssh still sends has nowhere to go
        if events & (select.POLLIN | select.POLLHUP | select.POLLERR) and not self._local_ended:
            try:
                data = self._local.recv(READ_BYTES)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if data:
                self._state.write(data)
                self._flush(sock)
            else:
                self._local_ended = True
                self._state.end()
        elif events & (select.POLLHUP | select.POLLERR):
            # ssh is gone in both directions: nobody takes what still comes.
            self._state.reset("closed", "closed")

    def _step_transport(self, events: int, sock: socket.socket) -> None:
        if events & (select.POLLIN | select.POLLHUP | select.POLLERR):
            while data := _receive(sock):
                self._arrived(data)
                if not _has_pending(sock):
                    break

    def _arrived(self, data: bytes) -> None:
        self._to_local += self._state.receive(data, time.monotonic())
        self._deliver()

    def _deliver(self) -> None:
        """Give ssh what has arrived, as far as it takes it; then the end."""
        if self._to_local:
            before = sum(map(len, self._to_local))
            try:
                self._to_local = write_vector(self._local.fileno(), self._to_local)
            except OSError:
                self._to_local = []
                self._state.reset("closed", "closed")
            taken = before - sum(map(len, self._to_local))
            if taken:
                self._state.consumed(taken, time.monotonic())
        state = self._state
        ended = state.inbox.ended_at is not None or state.closed is not None
        if ended and not self._to_local and not self._told_end:
            self._told_end = True
            try:
                self._local.shutdown(socket.SHUT_WR)
            except OSError:
                state.reset("closed", "closed")

    def _flush(self, sock: socket.socket) -> None:
        """Give the transport what is due, as far as it takes it."""
        pieces = self._unsent or self._state.pieces(time.monotonic())
        if pieces:
            self._unsent = _send(sock, pieces)


def _receive(sock: socket.socket) -> bytes:
    """Some bytes, b"" when none are there now. Raises Lost at the end."""
    try:
        data = sock.recv(READ_BYTES)
    except BlockingIOError:
        return b""
    except OSError as exc:
        if getattr(exc, "library", None) or type(exc).__name__.startswith("SSLWant"):
            return b""
        raise Lost from exc
    if not data:
        raise Lost
    return data


def _has_pending(sock: socket.socket) -> bool:
    """Whether a TLS session holds bytes that poll cannot see."""
    pending = getattr(sock, "pending", None)
    return pending is not None and pending() > 0


def _send(sock: socket.socket, pieces: list[bytes | memoryview]) -> list[bytes | memoryview]:
    """What is left of `pieces`. Raises Lost."""
    try:
        if type(sock) is socket.socket:
            return write_vector(sock.fileno(), pieces)
        whole = b"".join(pieces)
        sent = sock.send(whole)
    except BlockingIOError:
        return pieces
    except OSError as exc:
        if type(exc).__name__.startswith("SSLWant"):
            return [whole]
        raise Lost from exc
    return [whole[sent:]] if sent < len(whole) else []


def _shorten_queue(sock: socket.socket) -> None:
    """Keep what the kernel holds unsent short, so that a keystroke does not wait behind bulk."""
    option = getattr(socket, "TCP_NOTSENT_LOWAT", None)
    if option is not None:
        sock.setsockopt(socket.IPPROTO_TCP, option, UNSENT_BYTES)
