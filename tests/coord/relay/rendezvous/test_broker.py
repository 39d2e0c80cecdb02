"""A client and an agent meet, or the wait is over."""

from __future__ import annotations

import os

import pytest
import trio
import trio.testing

from kled_coord.relay.rendezvous.broker import Broker
from kled_wire import limits
from kled_wire.control import messages
from kled_wire.errors import UnavailableError
from kled_wire.names import AgentId

AGENT = AgentId("agt_1")


class FakeRegistry:
    """Keeps what is sent to agents; `gone` makes every agent unreachable."""

    def __init__(self) -> None:
        self.sent: list[messages.Dial] = []
        self.gone = False
        self.features: set[str] = set()

    def knows(self, _agent_id: AgentId, feature: str) -> bool:
        return feature in self.features and not self.gone

    async def send(self, agent_id: AgentId, message: messages.Message) -> None:
        await trio.lowlevel.checkpoint()
        if self.gone:
            raise UnavailableError("agent_not_connected", "gone")
        assert isinstance(message, messages.Dial)
        self.sent.append(message)


def make() -> tuple[Broker, FakeRegistry]:
    registry = FakeRegistry()
    return Broker(registry, os.urandom), registry


async def open_one(broker: Broker) -> str:
    """What became of one request: the bytes its stream gave, or the error's code."""
    try:
        dial = messages.Dial(ticket="", kind="tcp", host="localhost", port=80)
        async with broker.open_stream(AGENT, dial) as stream:
            return (await stream.receive_some()).decode()
    except UnavailableError as error:
        return error.code


async def test_the_dial_says_what_was_asked_and_the_two_meet() -> None:
    broker, registry = make()
    results: list[str] = []
    async with trio.open_nursery() as nursery:

        async def client() -> None:
            results.append(await open_one(broker))

        nursery.start_soon(client)
        await trio.testing.wait_all_tasks_blocked()
        (dial,) = registry.sent
        assert (dial.kind, dial.host, dial.port) == ("tcp", "localhost", 80)
        meeting = broker.redeem(dial.ticket)
        assert meeting is not None
        ours, theirs = trio.testing.memory_stream_pair()
        nursery.start_soon(broker.arrive, meeting, theirs)
        await ours.send_all(b"hello")
    assert results == ["hello"]
    assert broker.redeem(dial.ticket) is None


async def test_an_agent_that_is_not_connected_is_said_at_once() -> None:
    broker, registry = make()
    registry.gone = True
    assert await open_one(broker) == "agent_not_connected"


async def test_an_agent_that_cannot_dial_is_quoted() -> None:
    broker, registry = make()
    async with trio.open_nursery() as nursery:
        results: list[str] = []

        async def client() -> None:
            results.append(await open_one(broker))

        nursery.start_soon(client)
        await trio.testing.wait_all_tasks_blocked()
        broker.fail_nowait(registry.sent[0].ticket, "dial_failed", "no route")
        broker.fail_nowait("unknown", "dial_failed", "no route")
    assert results == ["dial_failed"]


async def test_an_agent_that_stays_away_costs_the_limit_and_its_ticket_dies(
    autojump_clock: trio.testing.MockClock,
) -> None:
    broker, registry = make()
    assert await open_one(broker) == "dial_timeout"
    assert trio.current_time() == pytest.approx(limits.DIAL_BACK_TIMEOUT_S)
    assert broker.redeem(registry.sent[0].ticket) is None
