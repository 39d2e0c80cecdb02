"""Idle connections: taken by the next stream, replaced in time, let go in the end."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import pytest
import trio
import trio.testing

from kled_coord.relay.rendezvous.broker import Broker
from kled_coord.relay.rendezvous.standby import IDLE_MAX_S, IN_USE_S, READY
from kled_wire import limits
from kled_wire.control import messages, standby
from kled_wire.names import AgentId
from tests.coord.relay.rendezvous.test_broker import AGENT, FakeRegistry

SSH = messages.Dial(ticket="", kind="ssh", resume=True, user="usr_1")


class Site:
    """A broker, and an agent that comes for each ticket as soon as `answer` is called."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.nursery = nursery
        self.registry = FakeRegistry()
        self.registry.features = {standby.FEATURE}
        self.broker = Broker(self.registry, os.urandom)
        # The coordinator's end of each connection, and the agent's.
        self.ends: dict[trio.abc.HalfCloseableStream, trio.abc.HalfCloseableStream] = {}

    async def answer(self) -> None:
        """Dial back for everything that was asked for."""
        asked, self.registry.sent = self.registry.sent, []
        for dial in asked:
            meeting = self.broker.redeem(dial.ticket)
            assert meeting is not None
            ours, theirs = trio.testing.memory_stream_pair()
            self.ends[theirs] = ours
            self.nursery.start_soon(self.broker.arrive, meeting, theirs)
        await trio.testing.wait_all_tasks_blocked()

    @property
    def asked(self) -> int:
        """How many idle connections were asked for and have not come."""
        return sum(dial.kind == standby.KIND for dial in self.registry.sent)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with trio.open_nursery() as nursery:
        yield Site(nursery)
        nursery.cancel_scope.cancel()


async def test_a_stream_takes_what_is_ready_and_asks_the_agent_nothing(site: Site) -> None:
    await site.broker.used(AGENT)
    assert site.asked == READY
    await site.answer()
    async with site.broker.open_stream(AGENT, SSH) as stream:
        assert site.registry.sent == []
        await stream.send_all(b"rest")
        end = site.ends[stream]
        found = standby.decode_dial(bytes(await end.receive_some()))
        assert found is not None
        assert found[0] == SSH
        await end.send_all(b"hello")
        assert await stream.receive_some() == b"hello"
        await site.broker.used(AGENT)
        assert site.asked == 1


async def test_nothing_is_kept_for_an_agent_that_does_not_know_how(site: Site) -> None:
    site.registry.features.clear()
    await site.broker.used(AGENT)
    assert site.registry.sent == []


async def test_one_that_the_agent_closed_is_passed_over(site: Site) -> None:
    await site.broker.used(AGENT)
    await site.answer()
    for end in site.ends.values():
        await end.aclose()
    await trio.testing.wait_all_tasks_blocked()
    assert site.registry.sent == []
    async with trio.open_nursery() as nursery:

        async def opened() -> None:
            async with site.broker.open_stream(AGENT, SSH):
                nursery.cancel_scope.cancel()

        nursery.start_soon(opened)
        await trio.testing.wait_all_tasks_blocked()
        (dial,) = site.registry.sent
        assert dial.kind == "ssh"
        await site.answer()


async def test_old_ones_are_replaced_while_the_workspace_is_in_use(
    site: Site, autojump_clock: trio.testing.MockClock
) -> None:
    await site.broker.used(AGENT)
    for _ in range(int(IN_USE_S / IDLE_MAX_S) - 1):
        await site.answer()
        assert site.asked == 0
        await trio.sleep(IDLE_MAX_S + 0.1)
        assert site.asked == READY
    await site.answer()
    await trio.sleep(2 * IDLE_MAX_S)
    assert site.registry.sent == []


async def test_one_that_never_came_is_asked_for_again(
    site: Site, autojump_clock: trio.testing.MockClock
) -> None:
    await site.broker.used(AGENT)
    tickets = [dial.ticket for dial in site.registry.sent]
    await site.broker.used(AGENT)
    assert site.asked == READY
    autojump_clock.jump(limits.DIAL_BACK_TIMEOUT_S)
    await site.broker.used(AGENT)
    assert site.asked == 2 * READY
    assert [site.broker.redeem(ticket) for ticket in tickets] == [None] * READY


async def test_an_agent_that_cannot_come_is_asked_again_at_the_next_use(site: Site) -> None:
    await site.broker.used(AGENT)
    for dial in site.registry.sent:
        site.broker.fail_nowait(dial.ticket, "dial_timeout", "no")
    await site.broker.used(AGENT)
    assert site.asked == 2 * READY


async def test_all_are_let_go_when_the_coordinator_stops(site: Site) -> None:
    await site.broker.used(AGENT)
    await site.answer()
    site.broker.close_standby()
    await trio.testing.wait_all_tasks_blocked()
    await site.broker.used(AgentId("agt_2"))
    assert site.registry.sent == []
