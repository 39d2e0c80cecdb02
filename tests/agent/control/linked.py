"""A running control link of an agent, and what it was told."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

import trio

from kled_agent.control.grants import Grants
from kled_agent.control.key_uses import KeyUses
from kled_agent.ssh.keys import AcceptedKeys
from kled_wire.control import messages
from kled_wire.eventlog import EventLog
from tests.agent.conftest import Records
from tests.agent.control.coordinator import (
    Coordinator,
)


@dataclass
class Agent:
    """A running link and what it was told."""

    coordinator: Coordinator
    records: Records
    dials: list[messages.Dial] = field(default_factory=list)
    welcomes: list[messages.Welcome] = field(default_factory=list)
    keys: AcceptedKeys = field(default_factory=AcceptedKeys)
    key_uses: KeyUses = field(init=False)

    def __post_init__(self) -> None:
        self.key_uses = KeyUses(EventLog(logging.getLogger("test")))

    grants: Grants = field(default_factory=Grants)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for what another task or the kernel does."""
        with trio.fail_after(10):
            while not condition():
                await trio.sleep(0.002)

    async def connected(self, times: int) -> float:
        """Wait for that many connections; seconds between the last two."""
        await self.until(lambda: len(self.coordinator.times) >= times)
        return self.coordinator.times[-1] - self.coordinator.times[-2]


Running = Callable[..., AbstractAsyncContextManager[Agent]]
REFUSED_S, CAP_S = 0.4, 0.2
