"""Asks the agent of a client's stream to dial back, and waits for both or the timeout."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Protocol

import trio

from kled_coord.relay.rendezvous.meeting import Meeting
from kled_coord.relay.rendezvous.standby import StandbyConnections
from kled_coord.relay.rendezvous.tickets import Tickets
from kled_wire import limits
from kled_wire.control import messages, standby
from kled_wire.errors import UnavailableError
from kled_wire.names import AgentId


class Dialer(Protocol):
    """Reaches an agent (control/registry.py)."""

    async def send(self, agent_id: AgentId, message: messages.Message) -> None:
        """Send. Raises UnavailableError("agent_not_connected")."""
        ...

    def knows(self, agent_id: AgentId, feature: str) -> bool:
        """Whether the agent is connected and said that it has `feature`."""
        ...


class Broker:
    """Brings the two ends of a stream together."""

    def __init__(self, registry: Dialer, random_bytes: Callable[[int], bytes]) -> None:
        self._registry = registry
        self._tickets: Tickets[Meeting] = Tickets(random_bytes)
        self._by_ticket: dict[str, Meeting] = {}
        self._standby = StandbyConnections(self)

    @asynccontextmanager
    async def open_stream(
        self, agent_id: AgentId, request: messages.Dial
    ) -> AsyncIterator[trio.abc.HalfCloseableStream]:
        """Give the agent's end of the stream of `request`, for the block.

        An idle connection becomes that stream, or else the agent is asked to dial back; the ticket
        is put into the request here.

        Raises UnavailableError ("agent_not_connected", "dial_timeout", or what the agent said).
        """
        meeting = await self._take_ready(agent_id, request) or await self._dial(agent_id, request)
        assert meeting.stream is not None
        try:
            yield meeting.stream
        finally:
            meeting.over.set()

    async def used(self, agent_id: AgentId) -> None:
        """Have connections ready for the next streams, now that the workspace is in use."""
        if self._registry.knows(agent_id, standby.FEATURE):
            await self._standby.used(agent_id)

    def close_standby(self) -> None:
        """Let go of all idle connections."""
        self._standby.close()

    async def _take_ready(self, agent_id: AgentId, request: messages.Dial) -> Meeting | None:
        if not self._registry.knows(agent_id, standby.FEATURE):
            return None
        while (meeting := self._standby.take(agent_id)) is not None:
            assert meeting.stream is not None
            told = False
            try:
                with trio.fail_after(limits.GOODBYE_S):
                    await meeting.stream.send_all(standby.encode_dial(request))
                told = True
            except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
                continue  # broken, without our hearing of it
            finally:
                if not told:
                    meeting.over.set()
            return meeting
        return None

    async def _dial(self, agent_id: AgentId, request: messages.Dial) -> Meeting:
        meeting = self._expect(Meeting(agent_id=agent_id))
        arrived = False
        try:
            await self._registry.send(agent_id, replace(request, ticket=meeting.ticket))
            with trio.move_on_after(limits.DIAL_BACK_TIMEOUT_S):
                await meeting.arrived.wait()
            if meeting.failure is not None:
                raise meeting.failure
            if meeting.stream is None:
                raise UnavailableError(
                    "dial_timeout",
                    f"the agent did not dial back within {limits.DIAL_BACK_TIMEOUT_S:.0f} s",
                    hint="try again; kled ping shows the round-trip time",
                )
            arrived = True
        finally:
            self.withdraw(meeting.ticket)
            if not arrived:
                meeting.over.set()
        return meeting

    def _expect(self, meeting: Meeting) -> Meeting:
        meeting.ticket = self._tickets.issue(meeting)
        self._by_ticket[meeting.ticket] = meeting
        return meeting

    # For the standby connections.

    def expect(self, agent_id: AgentId) -> str:
        """A ticket for an idle connection of the agent."""
        return self._expect(Meeting(agent_id=agent_id, standby=True)).ticket

    async def call(self, agent_id: AgentId, ticket: str) -> bool:
        """Ask the agent for an idle connection; False when it cannot be asked."""
        try:
            await self._registry.send(agent_id, messages.Dial(ticket=ticket, kind=standby.KIND))
        except UnavailableError:
            return False
        return True

    def withdraw(self, ticket: str) -> None:
        """Make a ticket worthless."""
        self._tickets.withdraw(ticket)
        self._by_ticket.pop(ticket, None)

    # The agent's side.

    def redeem(self, ticket: str) -> Meeting | None:
        """The meeting that `ticket` admits to, once."""
        return self._tickets.redeem(ticket)

    def fail_nowait(self, ticket: str, code: str, message: str) -> None:
        """The agent says that it cannot dial; its words reach the client."""
        meeting = self._by_ticket.get(ticket)
        if meeting is None or meeting.arrived.is_set():
            return
        meeting.failure = UnavailableError(code[:64], f"the agent says: {message[:300]}")
        meeting.arrived.set()
        if meeting.standby:
            self.withdraw(ticket)
            self._standby.failed(meeting.agent_id, ticket)

    async def arrive(self, meeting: Meeting, stream: trio.abc.HalfCloseableStream) -> None:
        """Hand over the agent's end and wait until the stream is over."""
        if meeting.standby:
            self.withdraw(meeting.ticket)
            await self._standby.keep(meeting, stream)
            return
        meeting.stream = stream
        meeting.arrived.set()
        await meeting.over.wait()
