"""Turns at Terraform for people who wait for an answer: one at a time for each of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from kled_wire.errors import LimitError


class Turns:
    """Limits tasks that take a core each: how many of one user wait, and how many run in all."""

    def __init__(self, *, waiting_max: int, at_once: int) -> None:
        self._waiting_max = waiting_max
        self._running = trio.CapacityLimiter(at_once)
        self._waiting: Counter[str] = Counter()
        self._turns: dict[str, trio.Lock] = {}

    @asynccontextmanager
    async def of(self, user_id: str, code: str, what: str) -> AsyncIterator[None]:
        """Wait for the turn of a user, who has other `what` too. Raises LimitError(code)."""
        if self._waiting[user_id] >= self._waiting_max:
            raise LimitError(
                code,
                f"{self._waiting_max} {what} of yours wait for an answer, the limit",
                hint="wait for them",
                retry_after_s=1,
            )
        self._waiting[user_id] += 1
        try:
            async with self._turns.setdefault(user_id, trio.Lock()):
                yield
        finally:
            self._waiting[user_id] -= 1
            if not self._waiting[user_id]:
                del self._waiting[user_id], self._turns[user_id]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Wait until one of all those that run at once may."""
        async with self._running:
            yield
