"""The admission limiter: unauthenticated connections, in total and for each network.

A connection above the limit of its network waits, and only those of the same network wait behind
it: thousands of agents behind one NAT connect one after the other, and strangers whose connections
send nothing exclude at most others of their own network.
"""

from __future__ import annotations

from typing import Final

import trio

from kled_coord.addresses import holder_of
from kled_wire import limits
from kled_wire.errors import LimitError

# Each may take a head, a small body and Hypercorn's own: about 100 KiB.
PLACES: Final = 1024
# In an ASGI request's state: what to call once it is known who asks.
VOUCHED: Final = "vouched"
# More agents than anybody has behind one address.
WAITING: Final = 8192


class Admission:
    """Gives out places; `places` and `waiting` are for each address (IPv6: each /64)."""

    def __init__(self, places: int = PLACES, waiting: int = WAITING) -> None:
        self._places = places
        self._waiting = waiting
        self._limiters: dict[str, trio.CapacityLimiter] = {}

    async def enter(self, address: str) -> AdmissionPlace:
        """Wait for a place; whoever gets one leaves it. Raises LimitError("too_many_connections").

        That comes at once where too many wait already, else after limits.HEAD_TIMEOUT_S.
        """
        holder = holder_of(address)
        limiter = self._limiters.setdefault(holder, trio.CapacityLimiter(self._places))
        place = AdmissionPlace(self._limiters, holder, limiter)
        if limiter.statistics().tasks_waiting < self._waiting:
            with trio.move_on_after(limits.HEAD_TIMEOUT_S):
                await limiter.acquire_on_behalf_of(place)
                return place
        raise LimitError(
            "too_many_connections",
            f"{self._places} connections from {address[:64]} have not said who they are",
            retry_after_s=limits.HEAD_TIMEOUT_S,
        )


class AdmissionPlace:
    """Held until the peer has said who it is, or the connection is over."""

    __slots__ = ("_holder", "_limiter", "_limiters")

    def __init__(
        self, limiters: dict[str, trio.CapacityLimiter], holder: str, limiter: trio.CapacityLimiter
    ) -> None:
        self._limiters = limiters
        self._holder = holder
        self._limiter: trio.CapacityLimiter | None = limiter

    @property
    def is_held(self) -> bool:
        """Whether it was not left yet."""
        return self._limiter is not None

    def leave(self) -> None:
        """Give it to the next that waits; again does nothing."""
        if self._limiter is None:
            return
        limiter, self._limiter = self._limiter, None
        limiter.release_on_behalf_of(self)
        if limiter.borrowed_tokens == 0:
            # Whoever comes next makes it anew.
            del self._limiters[self._holder]
