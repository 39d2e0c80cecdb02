"""Which agents are connected: newer wins, waiting, silence."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import trio
import trio.testing

from kled_coord.control.registry import AgentRegistry, AttachedAgent
from kled_coord.metrics import Metrics
from kled_wire import limits
from kled_wire.control import messages
from kled_wire.control.link import CloseCode, LinkClosed
from kled_wire.errors import UnavailableError
from kled_wire.names import AgentId
from tests.coord.conftest import Clock

A, B = AgentId("agt_a"), AgentId("agt_b")


@dataclass
class FakeLink:
    """Remembers what was sent, until it is closed."""

    sent: list[messages.Message] = field(default_factory=list)
    closed: bool = False

    async def send(self, message: messages.Message) -> None:
        await trio.lowlevel.checkpoint()
        if self.closed:
            raise LinkClosed(1006, "")
        self.sent.append(message)

    async def ping(self) -> float:
        await trio.lowlevel.checkpoint()
        if self.closed:
            raise LinkClosed(1006, "")
        return 0.25


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def registry(metrics: Metrics) -> AgentRegistry:
    return AgentRegistry(metrics)


def _attached(clock: Clock, link: FakeLink | None = None) -> AttachedAgent:
    return AttachedAgent(
        link=link or FakeLink(),  # type: ignore[arg-type]  # a fake
        scope=trio.CancelScope(),
        connected_at=clock(),
        last_seen_at=clock(),
        hello=messages.Hello(protocol="1.0", version="9", hostname="box", os="linux", arch="arm"),
        address="192.0.2.1",
    )


def test_a_connected_agent_has_a_state(registry: AgentRegistry, clock: Clock) -> None:
    assert registry.state(A) is None
    attached = _attached(clock)
    registry.attach(A, attached)
    attached.rtt_s = 0.5
    state = registry.state(A)
    assert state is not None
    assert (state.hostname, state.rtt_s, state.address) == ("box", 0.5, "192.0.2.1")
    assert registry.detach(A, attached)
    assert registry.state(A) is None
    assert not registry.detach(A, attached)


async def test_the_newer_link_wins_and_the_older_is_told(
    registry: AgentRegistry, clock: Clock, metrics: Metrics
) -> None:
    await trio.lowlevel.checkpoint()
    older, newer = _attached(clock), _attached(clock)
    registry.attach(A, older)
    registry.attach(A, newer)
    assert older.scope.cancel_called
    assert older.close[0] is CloseCode.REPLACED
    assert not newer.scope.cancel_called
    # The older one's end must not take the newer one out.
    assert not registry.detach(A, older)
    assert registry.state(A) is not None
    assert metrics.registry.get_sample_value("kled_agents_connected") == 1


async def test_waiting_ends_when_the_agent_comes(registry: AgentRegistry, clock: Clock) -> None:
    done: list[int] = []

    async def wait(number: int) -> None:
        await registry.wait_connected(A)
        done.append(number)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait, 1)
        nursery.start_soon(wait, 2)
        await trio.testing.wait_all_tasks_blocked()
        registry.attach(B, _attached(clock))
        await trio.testing.wait_all_tasks_blocked()
        assert done == []
        registry.attach(A, _attached(clock))
    assert sorted(done) == [1, 2]
    with trio.testing.assert_checkpoints():
        await registry.wait_connected(A)


async def test_asking_an_agent_that_is_not_there_is_unavailable(
    registry: AgentRegistry, clock: Clock
) -> None:
    message = messages.Dial(ticket="t", kind="ssh")
    for _ in range(2):
        with pytest.raises(UnavailableError) as caught:
            await registry.send(A, message)
        assert caught.value.code == "agent_not_connected"
        with pytest.raises(UnavailableError):
            await registry.ping(A)
        registry.attach(A, _attached(clock, FakeLink(closed=True)))  # on its way out


async def test_messages_go_to_the_agents_link(registry: AgentRegistry, clock: Clock) -> None:
    link = FakeLink()
    registry.attach(A, _attached(clock, link))
    await registry.send(A, messages.Dial(ticket="t", kind="ssh"))
    assert link.sent == [messages.Dial(ticket="t", kind="ssh")]
    assert await registry.ping(A) == 0.25


async def test_dropping_says_that_the_token_is_refused(
    registry: AgentRegistry, clock: Clock
) -> None:
    await trio.lowlevel.checkpoint()
    attached = _attached(clock)
    registry.attach(A, attached)
    registry.drop(B, "nobody")
    registry.drop(A, "revoked")
    assert attached.scope.cancel_called
    assert attached.close == (CloseCode.TOKEN_REFUSED, "revoked")


async def test_going_down_tells_everybody(registry: AgentRegistry, clock: Clock) -> None:
    await trio.lowlevel.checkpoint()
    both = [_attached(clock), _attached(clock)]
    registry.attach(A, both[0])
    registry.attach(B, both[1])
    registry.end_all("going down", back_in_s=2.0)
    assert [a.close for a in both] == [(CloseCode.GOING_AWAY, "going down")] * 2
    farewell = messages.Shutdown(reason="going down", back_in_s=2.0)
    assert [a.farewell for a in both] == [farewell] * 2


async def test_waiting_for_everybody_to_go(registry: AgentRegistry, clock: Clock) -> None:
    first, second = _attached(clock), _attached(clock)
    registry.attach(A, first)
    registry.attach(B, second)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(registry.wait_empty)
        await trio.testing.wait_all_tasks_blocked()
        registry.detach(A, first)
        await trio.testing.wait_all_tasks_blocked()
        assert nursery.child_tasks
        registry.detach(B, second)


async def test_an_agent_that_is_silent_for_too_long_is_ended(
    registry: AgentRegistry, clock: Clock, autojump_clock: trio.testing.MockClock
) -> None:
    # Every wait here is a Trio task, so the clock may jump.
    silent, lively = _attached(clock), _attached(clock)
    registry.attach(A, silent)
    registry.attach(B, lively)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(registry.serve_dead_peers)
        for _ in range(4):
            assert not silent.scope.cancel_called
            await trio.sleep(limits.HEARTBEAT_S)
            # The wall clock steps by an hour each time, which says nothing.
            clock.advance(3600)
            lively.heard_at = trio.current_time()
        await trio.sleep(limits.HEARTBEAT_S)
        await trio.testing.wait_all_tasks_blocked()
        assert silent.close[0] is CloseCode.DEAD_PEER
        assert not lively.scope.cancel_called
        nursery.cancel_scope.cancel()


async def test_a_coordinator_that_stood_still_reads_before_it_judges(
    registry: AgentRegistry, clock: Clock, mock_clock: trio.testing.MockClock
) -> None:
    attached = _attached(clock)
    registry.attach(A, attached)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(registry.serve_dead_peers)
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(10 * limits.DEAD_PEER_S)
        await trio.testing.wait_all_tasks_blocked()
        assert not attached.scope.cancel_called
        attached.heard_at = trio.current_time()
        mock_clock.jump(limits.HEARTBEAT_S)
        await trio.testing.wait_all_tasks_blocked()
        assert not attached.scope.cancel_called
        nursery.cancel_scope.cancel()
