"""Client asks, agent dials back, the two meet or the wait is over."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Protocol

import trio

from kled_coord.relay.tickets import Tickets
from kled_wire import limits, messages
from kled_wire.errors import KledError, UnavailableError
from kled_wire.names import AgentId


@dataclass(slots=True, kw_only=True, eq=False)
class Meeting:
    """A client waiting for its agent. `over` lets the agent's side close its connection."""

    agent_id: AgentId
    arrived: trio.Event = field(default_factory=trio.Event)
    over: trio.Event = field(default_factory=trio.Event)
    stream: trio.abc.HalfCloseableStream | None = None
    failure: KledError | None = None


class Dialer(Protocol):
    """The way to an agent (control/registry.py)."""

    async def send(self, agent_id: AgentId, message: messages.Message) -> None:
        """Send. Raises UnavailableError("agent_not_connected")."""
        ...


class Broker:
    """Brings the two ends of a stream together."""

    def __init__(self, registry: Dialer, random_bytes: Callable[[int], bytes]) -> None:
        self._registry = registry
        self._tickets: Tickets[Meeting] = Tickets(random_bytes)
        self._by_ticket: dict[str, Meeting] = {}

    @asynccontextmanager
    async def open_stream(
        self, agent_id: AgentId, request: messages.Dial
    ) -> AsyncIterator[trio.abc.HalfCloseableStream]:
        """Ask the agent for the stream of `request` and give its end of it, for the block.

        The ticket is put into the request here.

        Raises UnavailableError ("agent_not_connected", "dial_timeout", or what the agent said).
        """
        meeting = Meeting(agent_id=agent_id)
        ticket = self._tickets.issue(meeting)
        self._by_ticket[ticket] = meeting
        try:
            await self._registry.send(agent_id, replace(request, ticket=ticket))
            with trio.move_on_after(limits.DIAL_BACK_TIMEOUT_S):
                await meeting.arrived.wait()
            if meeting.failure is not None:
                raise meeting.failure
            if meeting.stream is None:
                raise UnavailableError(
                    "dial_timeout",
                    f"the agent did not dial back within {limits.DIAL_BACK_TIMEOUT_S:.0f} s",
                    hint="try again; `kled ping` shows how far away it is",
                )
            yield meeting.stream
        finally:
            self._tickets.withdraw(ticket)
            self._by_ticket.pop(ticket, None)
            meeting.over.set()

    def redeem(self, ticket: str) -> Meeting | None:
        """The meeting that `ticket` admits to, once."""
        return self._tickets.redeem(ticket)

    def fail_nowait(self, ticket: str, code: str, message: str) -> None:
        """The agent says that it cannot dial; its words reach the client."""
        meeting = self._by_ticket.get(ticket)
        if meeting is not None and not meeting.arrived.is_set():
            meeting.failure = UnavailableError(code[:64], f"the agent says: {message[:300]}")
            meeting.arrived.set()

    async def arrive(self, meeting: Meeting, stream: trio.abc.HalfCloseableStream) -> None:
        """Hand over the agent's end and wait until the stream is over."""
        meeting.stream = stream
        meeting.arrived.set()
        await meeting.over.wait()
