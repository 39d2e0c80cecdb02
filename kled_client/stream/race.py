"""Dial an agent's addresses, for a poll(2) loop: the first that proves to be the agent's wins.

As `kled_wire/resume/direct/seeker.py` does under Trio, without blocking and without a thread.
"""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable, Iterator
from typing import NamedTuple

from kled_wire.errors import KledError
from kled_wire.resume.direct.offer import Candidate
from kled_wire.resume.direct.paths import ATTEMPT_S, STAGGER_S, describe
from kled_wire.resume.frames import NONCE_BYTES, New
from kled_wire.resume.proof import ClientGreeting, ProvenAgent

# A greeting is shorter than this.
_READ_BYTES = 2048


class DirectConnection(NamedTuple):
    """A connection whose other end is the agent."""

    candidate: Candidate
    sock: socket.socket
    agent: ProvenAgent
    rtt_s: float


class Race:
    """One attempt. `position` says how much of the stream has arrived."""

    def __init__(
        self,
        candidates: tuple[Candidate, ...],
        new: New,
        position: Callable[[], int],
        now: float,
    ) -> None:
        self.failures: dict[Candidate, str] = {}
        self.winner: DirectConnection | None = None
        self._new = new
        self._position = position
        self._waiting = [(now + n * STAGGER_S, c) for n, c in enumerate(candidates)]
        self._ends_at = now + ATTEMPT_S
        self._attempts: dict[int, _Attempt] = {}

    @property
    def over(self) -> bool:
        """Whether nobody is left in it: see `winner`."""
        return not self._waiting and not self._attempts

    @property
    def wake_at(self) -> float:
        """When to call `step` if nothing happens before."""
        return min(self._ends_at, self._waiting[0][0]) if self._waiting else self._ends_at

    def watched(self) -> Iterator[tuple[int, int]]:
        """What to poll: descriptors and events."""
        for descriptor, attempt in self._attempts.items():
            yield descriptor, select.POLLIN if attempt.connected else select.POLLOUT

    def step(self, now: float) -> None:
        """Time has passed: the next ones set out, the last ones have to come home."""
        if now >= self._ends_at:
            self.close()
        while self._waiting and self._waiting[0][0] <= now:
            _, candidate = self._waiting.pop(0)
            try:
                attempt = _Attempt(candidate)
            except OSError as exc:
                self.failures[candidate] = describe(exc)
            else:
                self._attempts[attempt.sock.fileno()] = attempt

    def handle(self, descriptor: int, now: float) -> None:
        """Something has happened to a watched descriptor."""
        attempt = self._attempts.get(descriptor)
        if attempt is None:
            return
        try:
            winner = attempt.advance(self._new, self._position, now)
        except (OSError, KledError, EOFError) as exc:
            self.failures[attempt.candidate] = describe(exc)
            del self._attempts[descriptor]
            attempt.sock.close()
            return
        if winner is not None:
            del self._attempts[descriptor]
            self.winner = winner
            self.close()

    def close(self) -> None:
        """Call everybody else back."""
        for attempt in self._attempts.values():
            attempt.sock.close()
        self._attempts.clear()
        self._waiting.clear()


class _Attempt:
    """One connection on its way: connecting, then waiting for the agent's challenge."""

    def __init__(self, candidate: Candidate) -> None:
        self.candidate = candidate
        family = socket.AF_INET6 if ":" in candidate.host else socket.AF_INET
        self.sock = socket.socket(family, socket.SOCK_STREAM)
        self._greeting: ClientGreeting | None = None
        self._asked_at = 0.0
        try:
            self.sock.setblocking(False)
            self.sock.connect((candidate.host, candidate.port))
        except BlockingIOError:
            return  # on its way
        except BaseException:
            self.sock.close()
            raise

    def advance(self, new: New, position: Callable[[], int], now: float) -> DirectConnection | None:
        """The next step. Raises OSError, KledError and EOFError."""
        if self._greeting is None:
            self._greeting = self._ask(ClientGreeting(new, position(), os.urandom(NONCE_BYTES)))
            self._asked_at = now
            return None
        try:
            data = self.sock.recv(_READ_BYTES)
        except BlockingIOError:
            return None
        if not data:
            raise EOFError
        agent = self._greeting.feed(data)
        if agent is None:
            return None
        return DirectConnection(self.candidate, self.sock, agent, rtt_s=now - self._asked_at)

    @property
    def connected(self) -> bool:
        """Whether it has been asked who it is."""
        return self._greeting is not None

    def _ask(self, greeting: ClientGreeting) -> ClientGreeting:
        code = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        # A new connection takes so few bytes at once.
        self.sock.sendall(greeting.request)
        return greeting
