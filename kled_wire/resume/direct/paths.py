"""Decides when a client tries which direct path, and what it reports. No clock and no I/O.

`seeker.py` opens paths under Trio, `kled_client/stream/race.py` with poll(2).

    waiting ──try_at──► trying ──► failed ──► waiting, ever longer
                           └─────► moved ──► lost ──► waiting

An offer that changes and a network that changes are reasons to try at once, and to give up an
attempt that is going on: it may be waiting for addresses that lead nowhere now. Both are held to a
pace, because the agent or the network may be out to keep us busy. Each has its own: where a link
comes up both come together, and the offer need not wait for what the network's has just tried.
"""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from kled_wire.backoff import Backoff
from kled_wire.errors import KledError, ProtocolError

if TYPE_CHECKING:
    from kled_wire.resume.direct.offer import Candidate, Offer

# Between the first steps to one address and to the next, and for all of them together. Seconds.
STAGGER_S: Final = 0.1
ATTEMPT_S: Final = 4.0
# How long a found path waits for the relay to have been greeted to the end.
TURN_S: Final = 5.0
BACKOFF: Final = Backoff(first_s=1.0, cap_s=60.0)
# The least time from the first attempt with one offer to that with another, and between attempts
# where the network has changed.
OFFER_PACE_S: Final = 5.0
NETWORK_PACE_S: Final = 1.0
# Changes of the network come in bursts.
SETTLE_S: Final = 0.2
# A direct path that ends sooner is no better than one that cannot be had.
FLAP_S: Final = 30.0
_WORDS: Final = {
    errno.ENETUNREACH: "no route",
    errno.EHOSTUNREACH: "no route",
    errno.EADDRNOTAVAIL: "no route",
    errno.EACCES: "not allowed",
    errno.EPERM: "not allowed",
    errno.ECONNREFUSED: "refused",
    errno.ECONNRESET: "reset",
    errno.ETIMEDOUT: "timed out",
}


class PathReport(NamedTuple):
    """Which way a stream takes: `direct` with the agent's address, or `relay` with the reason.

    `none` where there is no stream, again with the reason. `blocked`: the agent offers addresses,
    and none could be had.
    """

    kind: str
    address: str = ""
    rtt_s: float = 0.0
    reason: str = ""
    blocked: bool = False

    def __str__(self) -> str:
        """For a person."""
        if self.kind == "direct":
            return f"direct {self.address} ({self.rtt_s * 1000:.1f} ms)"
        return f"{self.kind} ({self.reason})"


class Paths:
    """What a client knows of the direct paths to one agent.

    `place` tells where the client is (`kled_wire.transport.network`), `disabled` why it wants none.
    """

    def __init__(
        self, place: Callable[[], str], random: Callable[[], float], *, disabled: str = ""
    ) -> None:
        self._place = place
        self._random = random
        self._disabled = disabled
        self._offer: Offer | None = None
        self._problem = ""
        self._candidates: tuple[Candidate, ...] = ()
        self._failures: dict[Candidate, str] = {}
        self._attempts = 0
        self._flaps = 0
        self._tried_at = -math.inf
        self._offer_tried_at = -math.inf
        self._moved_at = 0.0
        self._on: tuple[Candidate, float] | None = None
        # When to try an offer that has not been tried, another network, and again what has failed.
        self._offer_at = self._network_at = self._retry_at = math.inf

    @property
    def try_at(self) -> float:
        """When to begin the next attempt, instead of one that is going on; infinite: not at all."""
        if self._on or not self._candidates:
            return math.inf
        return min(self._network_at, self._offer_at if self._is_untried else self._retry_at)

    @property
    def _is_untried(self) -> bool:
        return self._offer_at < math.inf

    @property
    def settled(self) -> bool:
        """Whether all that was offered has been tried once, or there is nothing to try.

        The offer is the first that an agent says: who has heard anything has heard it.
        """
        return bool(self._on or self._failures or not self._candidates)

    # Events.

    def offered(self, payload: bytes, now: float) -> None:
        """The agent says where it can be reached."""
        # 5 ms that `kled stream` need not take before ssh has its connection.
        from kled_wire.resume.direct.offer import Offer, decode_offer, dialable  # noqa: PLC0415

        try:
            offer, problem = decode_offer(payload), ""
        except ProtocolError as exc:
            offer, problem = Offer(), exc.message
        if self._disabled:
            return
        if (offer, problem) == (self._offer, self._problem):
            return
        self._offer, self._problem = offer, problem
        self._candidates = dialable(offer, self._place())
        self._failures.clear()
        self._attempts = 0
        self._offer_at = max(now, self._offer_tried_at + OFFER_PACE_S)

    def network_changed(self, now: float) -> None:
        """Addresses or routes of this machine are others now."""
        self._attempts = 0
        soon = max(now + SETTLE_S, self._tried_at + NETWORK_PACE_S)
        self._network_at = min(self._network_at, soon)

    def begin(self, now: float) -> tuple[Candidate, ...]:
        """An attempt begins: the addresses to dial, STAGGER_S after one another."""
        self._tried_at = now
        if self._is_untried:
            self._offer_tried_at = now
        self._offer_at = self._network_at = self._retry_at = math.inf
        return self._candidates

    def failed(self, failures: Mapping[Candidate, str], now: float) -> None:
        """The attempt has ended; `failures` say why, by address, where that is known."""
        if self._is_untried:
            return  # it says nothing of what has been offered meanwhile
        self._failures = {c: failures.get(c, "timed out") for c in self._candidates}
        self._attempts += 1
        self._retry_at = now + self._delay(self._attempts)

    def moved(self, candidate: Candidate, rtt_s: float, now: float) -> None:
        """The stream is on the direct path to `candidate`."""
        self._failures.clear()
        self._attempts = 0
        self._moved_at = now
        self._on = candidate, rtt_s

    def lost(self, reason: str, now: float) -> None:
        """That path has ended."""
        if self._on is None:
            return
        (candidate, _), self._on = self._on, None
        self._failures = {candidate: f"lost: {reason}"}
        self._flaps = self._flaps + 1 if now - self._moved_at < FLAP_S else 0
        # Whatever has changed meanwhile: what comes and goes is tried less and less.
        self._offer_at = self._network_at = math.inf
        self._retry_at = now + self._delay(1 + 2 * self._flaps)

    def _delay(self, failures: int) -> float:
        # Never nothing, as full jitter might be: many tries in a row say no more than one.
        return BACKOFF.ceiling(failures) * (0.5 + self._random() / 2)

    # The report.

    def report(self) -> PathReport:
        """The path that is in use, and why not a direct one."""
        if self._on is not None:
            candidate, rtt_s = self._on
            return PathReport("direct", str(candidate), rtt_s)
        return PathReport("relay", reason=self._why_not(), blocked=bool(self._failures))

    def _why_not(self) -> str:
        if self._disabled or self._problem:
            return self._disabled or self._problem
        if self._offer is None:
            return "the agent has not said whether there is a direct path"
        if not self._offer.candidates:
            return f"the agent offers no direct path: {self._offer.reason}"
        if not self._candidates:
            return "the agent offers no address that can be reached from here"
        if self._failures:
            return "direct " + "; ".join(f"{c}: {why}" for c, why in self._failures.items())
        return f"trying {', '.join(map(str, self._candidates))}"


def describe(error: BaseException) -> str:
    """Why an address could not be had, in a word or two."""
    if isinstance(error, ProtocolError):
        return "not the agent of this stream"
    if isinstance(error, KledError):
        return error.message
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, OSError) and error.errno:
        return _WORDS.get(error.errno) or os.strerror(error.errno)
    return "closed"
