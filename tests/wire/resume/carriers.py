"""Two states and a transport between them that a test cuts, delays and splits as it likes."""

from __future__ import annotations

from kled_wire.resume.state import StreamState


class Wire:
    """One transport: bytes on their way in each direction."""

    def __init__(self) -> None:
        self.to_agent = bytearray()
        self.to_client = bytearray()


class Link:
    """A client's and an agent's state; time passes by `now`."""

    def __init__(self) -> None:
        self.client = StreamState()
        self.agent = StreamState()
        self.now = 1.0
        self.wire = Wire()
        # What the client and the agent have, as they said it on a direct path.
        self.greeted = 0, 0
        self.got_by_agent = bytearray()
        self.got_by_client = bytearray()
        self.attach()

    def attach(self) -> None:
        """A new transport; what was on its way on the old one is lost."""
        self.client.detach()
        self.agent.detach()
        self.wire = Wire()
        client_has, agent_has = self.client.inbox.position, self.agent.inbox.position
        self.client.attach(agent_has, self.now)
        self.agent.attach(client_has, self.now)

    def greet(self) -> None:
        """Say on a direct path what both have, while the present transport goes on carrying."""
        self.greeted = self.client.inbox.position, self.agent.inbox.position

    def move(self, to_agent: int | None = 0) -> None:
        """Move to the direct path that was greeted; so much still reaches the agent on the old."""
        client_has, agent_has = self.greeted
        self.client.detach()
        self.client.attach(agent_has, self.now, direct=True)
        self.got_by_agent += self._arrive(self.agent, self.wire.to_agent, to_agent)
        self.agent.detach()
        self.agent.attach(client_has, self.now, direct=True)
        self.wire = Wire()

    def send(self) -> None:
        """Let both ends put what is due onto the transport."""
        self.wire.to_agent += b"".join(self.client.pieces(self.now))
        self.wire.to_client += b"".join(self.agent.pieces(self.now))

    def deliver(self, to_agent: int | None = None, to_client: int | None = None) -> None:
        """Let some bytes, or all, arrive."""
        self.got_by_agent += self._arrive(self.agent, self.wire.to_agent, to_agent)
        self.got_by_client += self._arrive(self.client, self.wire.to_client, to_client)

    def _arrive(self, state: StreamState, wire: bytearray, size: int | None) -> bytes:
        arrived = bytes(wire[:size])
        del wire[:size]
        fresh = b"".join(state.receive(arrived, self.now))
        if fresh:
            state.consumed(len(fresh), self.now)
        return fresh

    def settle(self) -> None:
        """Send and deliver until nothing moves any more."""
        for _ in range(1000):
            self.now += 0.1
            self.send()
            if not self.wire.to_agent and not self.wire.to_client:
                return
            self.deliver()
        raise AssertionError("it never settles")
