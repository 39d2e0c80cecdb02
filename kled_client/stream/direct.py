"""Direct paths in the pump beside ssh: looks for one, and detects when it has failed.

The pump polls what is `watched` here beside its own two descriptors.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING

from kled_wire.resume.direct.paths import TURN_S, Paths
from kled_wire.resume.frames import New
from kled_wire.resume.state import StreamState
from kled_wire.transport.network import drain, is_astray, open_watch

if TYPE_CHECKING:
    from kled_client.stream.race import DirectConnection, Race


class DirectSide:
    """The direct paths of one stream. Times are the pump's clock's."""

    def __init__(self, paths: Paths, new: New, state: StreamState) -> None:
        self._paths = paths
        self._new = new
        self._state = state
        self._race: Race | None = None
        self._won_at = 0.0
        self._greeting = False
        self._now = 0.0
        self._transport: socket.socket | None = None
        self._watch = open_watch()
        # How often the network has changed.
        self.changes = 0
        state.on_offer = self._offered

    def close(self) -> None:
        """The stream is over."""
        if self._watch is not None:
            self._watch.close()
        self._end_race()

    @property
    def racing(self) -> bool:
        """Whether an attempt is going on."""
        return self._race is not None

    def relay_greets(self) -> None:
        """A transport of the relay's is about to take the stream; its first offer says it has."""
        self._greeting = True

    def relay_lost(self) -> None:
        """The relay's transport has not taken the stream, or has lost it."""
        self._greeting = False

    def _offered(self, payload: bytes) -> None:
        self._greeting = False
        self._paths.offered(payload, self._now)

    def watched(self) -> Iterator[tuple[int, int]]:
        """What to poll: descriptors and events."""
        if self._watch is not None:
            yield self._watch.fileno(), select.POLLIN
        if self._race is not None:
            yield from self._race.watched()

    def wake_at(self) -> float:
        """When to call `step` if nothing happens before."""
        if self._race is None:
            return self._paths.try_at
        if self._race.winner is not None:
            return self._won_at + TURN_S
        return min(self._race.wake_at, self._paths.try_at)

    def handle(self, descriptor: int, now: float) -> bool:
        """Something has happened to a watched descriptor; False: the transport has gone astray."""
        if self._watch is None or descriptor != self._watch.fileno():
            if self._race is not None:
                self._race.handle(descriptor, now)
            return True
        drain(self._watch)
        self.changes += 1
        self._paths.network_changed(now)
        if self._transport is None:
            return True
        try:
            local, remote = self._transport.getsockname()[0], self._transport.getpeername()[0]
        except OSError:
            return False
        return not is_astray(local, remote)

    def carried_by(self, transport: socket.socket | None) -> None:
        """What carries the stream from now on."""
        self._transport = transport

    def step(self, now: float) -> DirectConnection | None:
        """Time has passed; the connection that is to get the stream now, if there is one."""
        self._now = now
        if self._race is not None and self._race.winner is None and self._paths.try_at <= now:
            self._end_race()  # for something new
        if self._race is None:
            if self._paths.try_at > now:
                return None
            from kled_client.stream.race import Race

            self._race = Race(
                self._paths.begin(now), self._new, lambda: self._state.inbox.position, now
            )
            self._won_at = 0.0
        self._race.step(now)
        winner = self._race.winner
        if winner is not None:
            self._won_at = self._won_at or now
            if not self._greeting:
                self._race = None
                return winner
        if self._race.over and (winner is None or now - self._won_at > TURN_S):
            failures = self._race.failures
            self._end_race()
            self._paths.failed(failures, now)
        return None

    def _end_race(self) -> None:
        race, self._race = self._race, None
        if race is not None:
            race.close()
            if race.winner is not None:
                race.winner.sock.close()

    def moved(self, winner: DirectConnection, now: float) -> None:
        """The stream is on that path."""
        self._paths.moved(winner.candidate, winner.rtt_s, now)

    def lost(self, reason: str, now: float) -> None:
        """It is not any more."""
        self._paths.lost(reason, now)
