"""When a stream is dialled for again, and what is said of it."""

from __future__ import annotations

import os
from functools import partial

import pytest
import trio
import trio.testing

from kled_wire.resume.frames import New
from kled_wire.resume.redial import keep_attached
from kled_wire.resume.retry import BACKOFF, PACE
from kled_wire.resume.state import StreamState
from kled_wire.resume.stream import ResumableStream
from tests.wire.resume.links import Network, Transport, linked


async def test_an_agent_that_forgot_is_said_at_once_and_not_after_a_hang() -> None:
    async with linked() as (client, network):
        await client.send_all(b"x")
        assert await network.agent.receive_some() == b"x"
        await network.agent.send_all(b"y")
        assert await client.receive_some() == b"y"
        network.forgets = True
        await network.cut()
        with pytest.raises(trio.BrokenResourceError, match="restarted"), trio.fail_after(5):
            await client.receive_some()


@pytest.mark.parametrize(("down_s", "told"), [(0.0, []), (300.0, ["lost", "resumed"])])
async def test_only_a_way_that_stays_lost_is_told_of(
    down_s: float, told: list[str], autojump_clock: trio.testing.MockClock
) -> None:
    heard: list[str] = []
    async with trio.open_nursery() as nursery:
        network, client = Network(nursery, sockets=False), ResumableStream(StreamState())
        up_at = 0.0

        async def dial() -> Transport:
            if trio.current_time() < up_at:
                raise OSError("no route")
            return await network.dial()

        nursery.start_soon(
            partial(
                keep_attached,
                client,
                New.draw(os.urandom),
                dial,
                random_bytes=os.urandom,
                direct=network.seeker,
                on_lost=lambda _reason: heard.append("lost"),
                on_resumed=lambda: heard.append("resumed"),
            )
        )
        await client.send_all(b"x")
        assert await network.agent.receive_some() == b"x"
        up_at = trio.current_time() + down_s
        await network.cut()
        await client.send_all(b"y")
        assert await network.agent.receive_some() == b"y"
        assert heard == told
        nursery.cancel_scope.cancel()


async def test_an_idle_stream_is_back_at_once_however_often_its_transports_end(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Nothing gets on meanwhile, but the agent has proven each time that it is there."""
    async with linked(sockets=False) as (client, network):
        await client.send_all(b"x")
        assert await network.agent.receive_some() == b"x"
        for dials in range(2, 40):
            await trio.sleep(5.0)
            await network.cut()
            await trio.sleep(BACKOFF.first_s)
            assert network.dials == dials


async def test_transports_that_end_as_soon_as_they_have_begun_are_dialled_so_often_in_a_minute(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with linked(sockets=False) as (client, network):
        await client.send_all(b"x")
        assert await network.agent.receive_some() == b"x"
        for _ in range(3):
            before, until = network.dials, trio.current_time() + 60.0
            while trio.current_time() < until:
                await network.cut()
                await trio.sleep(0.1)
            assert 30 < network.dials - before <= PACE.burst + 60.0 / PACE.every_s
