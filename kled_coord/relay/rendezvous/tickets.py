"""One-time dial tickets, sent to an agent by control and redeemed on the data plane. No I/O.

Tickets are looked up by their SHA-256, so that the time a lookup takes says nothing about them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final, Generic, TypeVar

TICKET_BYTES: Final = 32

T = TypeVar("T")


class Tickets(Generic[T]):
    """The outstanding tickets, each with its stream. `random_bytes` is a secure source."""

    def __init__(self, random_bytes: Callable[[int], bytes]) -> None:
        self._random_bytes = random_bytes
        self._outstanding: dict[bytes, T] = {}

    def issue(self, value: T) -> str:
        """A new ticket for `value`, good until redeemed or withdrawn."""
        ticket = self._random_bytes(TICKET_BYTES).hex()
        self._outstanding[_key(ticket)] = value
        return ticket

    def redeem(self, ticket: str) -> T | None:
        """What `ticket` stands for, once; None for one that is unknown, used or withdrawn."""
        return self._outstanding.pop(_key(ticket), None)

    def withdraw(self, ticket: str) -> None:
        """Make `ticket` worthless; nothing happens when it has been redeemed."""
        self._outstanding.pop(_key(ticket), None)

    def __len__(self) -> int:
        """How many are outstanding."""
        return len(self._outstanding)


def _key(ticket: str) -> bytes:
    return hashlib.sha256(ticket.encode("utf-8", "surrogatepass")).digest()
