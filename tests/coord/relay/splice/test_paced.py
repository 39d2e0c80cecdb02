"""Copied streams that keep to a bandwidth."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from kled_coord.relay.splice.bandwidth import QUANTUM_BYTES, Share
from kled_coord.relay.splice.join import Joiner
from kled_coord.relay.splice.traffic import Traffic
from tests.coord.relay.sockets import read_all

RATE = 100_000
SHARES = (Share(1, RATE),)
Stapled = trio.StapledStream[trio.abc.SendStream, trio.abc.ReceiveStream]


def memory() -> tuple[Stapled, Stapled]:
    return trio.testing.memory_stream_pair()


def traffic() -> Traffic:
    return Traffic(on_count=lambda _to_agent, _to_client: None)


async def test_a_copied_stream_is_no_faster_than_its_share_and_loses_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    (client, near), (far, agent) = memory(), memory()
    payload = bytes(range(256)) * 4000
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Joiner(None).join, near, far, traffic(), SHARES)
        await client.send_all(payload)
        await client.send_eof()
        assert await read_all(agent) == payload
        took = trio.current_time()
        await agent.send_eof()
    assert took == pytest.approx((len(payload) - QUANTUM_BYTES) / RATE, rel=0.01)


async def test_each_way_has_its_own_bandwidth(autojump_clock: trio.testing.MockClock) -> None:
    (client, near), (far, agent) = memory(), memory()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Joiner(None).join, near, far, traffic(), SHARES)
        await agent.send_all(bytes(10 * RATE))
        with trio.fail_after(0.1):
            await client.send_all(b"x")
            assert await agent.receive_some() == b"x"
        nursery.cancel_scope.cancel()


async def test_streams_with_one_share_divide_it(autojump_clock: trio.testing.MockClock) -> None:
    joiner, counts = Joiner(None), [traffic(), traffic()]
    async with trio.open_nursery() as nursery:
        for count in counts:
            (client, near), (far, agent) = memory(), memory()
            nursery.start_soon(joiner.join, near, far, count, SHARES)
            nursery.start_soon(client.send_all, bytes(20 * RATE))
            nursery.start_soon(read_all, agent)
        await trio.sleep(10)
        nursery.cancel_scope.cancel()
    moved = [count.to_agent for count in counts]
    assert sum(moved) == pytest.approx(10 * RATE + QUANTUM_BYTES, rel=0.02)
    assert moved[0] == pytest.approx(moved[1], abs=QUANTUM_BYTES)


async def test_a_stream_that_is_cut_while_it_waits_holds_nobody_up(
    autojump_clock: trio.testing.MockClock,
) -> None:
    joiner = Joiner(None)
    (client, near), (far, agent) = memory(), memory()
    with trio.move_on_after(3):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(joiner.join, near, far, traffic(), SHARES)
            nursery.start_soon(client.send_all, bytes(100 * RATE))
            nursery.start_soon(read_all, agent)
    (client, near), (far, agent) = memory(), memory()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(joiner.join, near, far, traffic(), SHARES)
        with trio.fail_after(1):
            await client.send_all(b"x")
            assert await agent.receive_some() == b"x"
        nursery.cancel_scope.cancel()
