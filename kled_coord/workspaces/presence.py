"""The interface through which the rest of the coordinator asks about connected agents."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import trio

from kled_coord.store.records import AgentRecord
from kled_wire.control.messages import Message, Report, UserKey
from kled_wire.errors import UnavailableError
from kled_wire.names import AgentId

# Reads the list of keys that is good now.
ReadKeys = Callable[[], Awaitable[tuple[UserKey, ...]]]
# Waits until a list that was sent is in force. Raises UnavailableError.
WaitAnswered = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectedAgent:
    """A connected agent, as it was when asked. Times are aware UTC.

    `rtt_s` is the last measured round trip, None before the first heartbeat.
    """

    agent_id: AgentId
    connected_at: datetime
    last_seen_at: datetime
    rtt_s: float | None
    version: str
    hostname: str
    os: str
    arch: str
    address: str
    report: Report | None


class Registry(Protocol):
    """Which agents are connected (kled_coord/control/registry.py)."""

    def state(self, agent_id: AgentId) -> ConnectedAgent | None:
        """The agent's state, None when it is not connected."""
        ...

    async def ping(self, agent_id: AgentId) -> float:
        """Seconds of a round trip, measured now. Raises UnavailableError."""
        ...

    async def wait_connected(self, agent_id: AgentId) -> None:
        """Return as soon as the agent is connected."""
        ...

    async def give_keys(self, agent_id: AgentId, read: ReadKeys) -> WaitAnswered:
        """Send the agent the list that `read` reads. Raises UnavailableError, and as `read`."""
        ...

    def refused(self, agent: AgentRecord, why: str, at: datetime) -> None:
        """Remember that what calls itself this agent was not let in, and will not be."""
        ...

    async def wait_refused(self, agent: AgentRecord, since: datetime) -> str:
        """Return why an agent of this workspace and name was refused, at `since` or later."""
        ...

    def drop(self, agent_id: AgentId, reason: str) -> None:
        """Close the agent's link, if it has one."""
        ...

    async def ask_grants(self, agent_id: AgentId) -> None:
        """Ask a connected agent to say again which grants it holds; others will by themselves."""
        ...

    async def send(self, agent_id: AgentId, message: Message) -> None:
        """Send to a connected agent. Raises UnavailableError."""
        ...


class NoAgents:
    """The registry of a process that holds no control links, for instance `kled-coord init`."""

    def state(self, agent_id: AgentId) -> ConnectedAgent | None:  # noqa: ARG002
        """Nobody is connected."""
        return None

    async def ping(self, agent_id: AgentId) -> float:
        """Raise UnavailableError."""
        await trio.lowlevel.checkpoint()
        raise UnavailableError("agent_not_connected", f"the agent {agent_id} is not connected")

    async def send(self, agent_id: AgentId, message: Message) -> None:  # noqa: ARG002
        """Raise UnavailableError."""
        await self.ping(agent_id)

    async def give_keys(self, agent_id: AgentId, read: ReadKeys) -> WaitAnswered:  # noqa: ARG002
        """Raise UnavailableError."""
        await self.ping(agent_id)
        raise AssertionError("unreachable")

    async def wait_connected(self, agent_id: AgentId) -> None:  # noqa: ARG002
        """Wait until cancelled."""
        await trio.sleep_forever()

    def refused(self, agent: AgentRecord, why: str, at: datetime) -> None:
        """Nobody waits for one."""

    async def wait_refused(self, agent: AgentRecord, since: datetime) -> str:  # noqa: ARG002
        """Wait until cancelled."""
        await trio.sleep_forever()

    def drop(self, agent_id: AgentId, reason: str) -> None:
        """There is nothing to drop."""

    async def ask_grants(self, agent_id: AgentId) -> None:  # noqa: ARG002
        """There is nobody to ask."""
        await trio.lowlevel.checkpoint()
