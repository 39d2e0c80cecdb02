"""Reports the uses of registered keys to the coordinator, which audits them, in order."""

from __future__ import annotations

from collections import deque
from typing import Final, Never

import trio

from kled_wire.control.link import ControlLink
from kled_wire.control.messages import KeyUsed
from kled_wire.eventlog import EventLog

# Streams begin over the link, so few can be told of later than over the next one.
_WAITING_MAX: Final = 256


class KeyUses:
    """Uses of keys that the coordinator has not been told yet; they outlive links."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._waiting: deque[str] = deque()
        self._news = trio.Event()

    def note(self, key_id: str) -> None:
        """Somebody has come in with this key."""
        if len(self._waiting) >= _WAITING_MAX:
            self._log.warning("ssh_key_use_untold", key=self._waiting.popleft())
        self._waiting.append(key_id)
        self._news.set()

    async def tell(self, link: ControlLink) -> Never:
        """Tell of each over `link`, until cancelled. Raises LinkClosed, and forgets nothing."""
        while True:
            while self._waiting:
                await link.send(KeyUsed(key=self._waiting[0]))
                self._waiting.popleft()
            self._news = trio.Event()
            await self._news.wait()
