"""The numbered lists of keys that were sent on one link, and those that the agent answered."""

from __future__ import annotations

import trio

from kled_coord.workspaces.presence import ReadKeys
from kled_wire.control.link import ControlLink
from kled_wire.control.messages import SetKeys
from kled_wire.errors import ProtocolError, UnavailableError


class KeyLists:
    """The lists of registered keys that one link sends, in their order."""

    __slots__ = ("_answered", "_ended", "_given", "_giving", "_link", "_news")

    def __init__(self, link: ControlLink) -> None:
        self._link = link
        self._given = 0
        self._answered = 0
        self._ended = False
        self._giving = trio.Lock()
        self._news = trio.Event()

    async def give(self, read: ReadKeys) -> int:
        """Send the list that `read` reads; its number. Raises LinkClosed, and as `read`.

        One at a time, from reading on: what is read last is sent last.
        """
        async with self._giving:
            keys = await read()
            self._given += 1
            number = self._given
            await self._link.send(SetKeys(number=number, keys=keys))
            return number

    def answered(self, number: int) -> None:
        """The agent has the list of this number. Raises ProtocolError("message_unexpected")."""
        if not self._answered <= number <= self._given:
            raise ProtocolError("message_unexpected", f"keys_set {number} does not answer a list")
        self._answered = number
        self._ring()

    def end(self) -> None:
        """The link has ended: no answer will come."""
        self._ended = True
        self._ring()

    async def wait_answered(self, number: int) -> None:
        """Return once the agent has this list or a later one. Raises UnavailableError."""
        while self._answered < number:
            if self._ended:
                raise UnavailableError(
                    "agent_not_connected", "the agent disconnected without an answer"
                )
            await self._news.wait()

    def _ring(self) -> None:
        self._news.set()
        self._news = trio.Event()
