"""Standby connections of agents whose workspaces are in use; a new stream uses one.

Without them a stream waits for the agent to be told, to connect and to ask: two round trips and
more where TLS begins anew. They are few, are let go soon after the workspace was last used, and are
replaced before a proxy on the path would close them for their silence.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final, Protocol

import trio

from kled_coord.relay.rendezvous.meeting import Meeting
from kled_wire import limits
from kled_wire.names import AgentId

# A browser opening a page, or ssh and its forwards, open about this many at once.
READY: Final = 2
# nginx and most load balancers end what is silent for 60 s.
IDLE_MAX_S: Final = 50.0
# A workspace is in use for so long after its last stream was opened.
IN_USE_S: Final = 600.0


@dataclass(slots=True)
class _Agent:
    idle: list[Meeting] = field(default_factory=list)
    # Asked for and not yet here, and since when.
    coming: dict[str, float] = field(default_factory=dict)
    wanted_until: float = -math.inf


class TicketIssuer(Protocol):
    """Issues tickets for standby connections (broker.py)."""

    def expect(self, agent_id: AgentId) -> str:
        """A ticket for one connection of the agent."""
        ...

    async def call(self, agent_id: AgentId, ticket: str) -> bool:
        """Ask the agent to come; False when it cannot be asked."""
        ...

    def withdraw(self, ticket: str) -> None:
        """Make the ticket worthless."""
        ...


class StandbyConnections:
    """The standby connections of all agents."""

    def __init__(self, issuer: TicketIssuer) -> None:
        self._issuer = issuer
        self._agents: dict[AgentId, _Agent] = {}
        self._closed = False

    def take(self, agent_id: AgentId) -> Meeting | None:
        """A connection that was idle until now, or None. The caller sets `over` in the end."""
        agent = self._agents.get(agent_id)
        if agent is None or not agent.idle:
            return None
        # The youngest: the least likely to have been cut without our hearing of it.
        meeting = agent.idle.pop()
        meeting.taken = True
        meeting.watch.cancel()
        return meeting

    async def used(self, agent_id: AgentId) -> None:
        """The agent's workspace is in use: see that connections are ready for what comes next."""
        self._agents.setdefault(agent_id, _Agent()).wanted_until = trio.current_time() + IN_USE_S
        await self._top_up(agent_id)
        self._forget(agent_id)

    async def keep(self, meeting: Meeting, stream: trio.abc.HalfCloseableStream) -> None:
        """Keep an agent's connection until it is too old or is taken, and then until it is over."""
        agent = self._agents.setdefault(meeting.agent_id, _Agent())
        agent.coming.pop(meeting.ticket, None)
        if self._closed:
            return
        meeting.stream = stream
        agent.idle.append(meeting)
        try:
            with meeting.watch:
                meeting.watch.deadline = trio.current_time() + IDLE_MAX_S
                # An idle agent sends nothing, so bytes mean that the connection cannot be used.
                await stream.receive_some(1)
        except trio.BrokenResourceError:
            meeting.stream = None
        finally:
            if not meeting.taken:
                agent.idle.remove(meeting)
        if meeting.taken:
            await meeting.over.wait()
        elif meeting.watch.cancelled_caught:
            await self._top_up(meeting.agent_id)
        self._forget(meeting.agent_id)

    def failed(self, agent_id: AgentId, ticket: str) -> None:
        """The agent will not come for `ticket`."""
        if (agent := self._agents.get(agent_id)) is not None:
            agent.coming.pop(ticket, None)

    def close(self) -> None:
        """Let go of all of them, and ask for no more."""
        self._closed = True
        for agent in self._agents.values():
            for meeting in agent.idle:
                meeting.watch.cancel()

    async def _top_up(self, agent_id: AgentId) -> None:
        agent = self._agents.setdefault(agent_id, _Agent())
        now = trio.current_time()
        for ticket, since in list(agent.coming.items()):
            if now - since >= limits.DIAL_BACK_TIMEOUT_S:
                del agent.coming[ticket]
                self._issuer.withdraw(ticket)
        while (
            not self._closed
            and now < agent.wanted_until
            and len(agent.idle) + len(agent.coming) < READY
        ):
            ticket = self._issuer.expect(agent_id)
            agent.coming[ticket] = now
            if not await self._issuer.call(agent_id, ticket):
                agent.coming.pop(ticket, None)
                self._issuer.withdraw(ticket)
                return

    def _forget(self, agent_id: AgentId) -> None:
        agent = self._agents.get(agent_id)
        if agent is not None and not agent.idle and not agent.coming:
            # The next use of the workspace sets `wanted_until` again.
            del self._agents[agent_id]
