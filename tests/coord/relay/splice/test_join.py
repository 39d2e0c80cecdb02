"""Streams that are copied in this process: TLS, WebSocket carriers, other systems."""

from __future__ import annotations

from collections.abc import Callable

import trio
import trio.testing

from kled_coord.relay.splice.join import Joiner
from kled_coord.relay.splice.traffic import Traffic
from kled_wire.transport.prefixed import PrefixedStream
from tests.coord.relay.conftest import StreamPair
from tests.coord.relay.sockets import read_all

Stapled = trio.StapledStream[trio.abc.SendStream, trio.abc.ReceiveStream]


def memory() -> tuple[Stapled, Stapled]:
    return trio.testing.memory_stream_pair()


def traffic() -> Traffic:
    return Traffic(on_count=lambda _to_agent, _to_client: None)


async def test_bytes_and_half_closes_are_carried_both_ways() -> None:
    (client, near), (far, agent) = memory(), memory()
    counted = traffic()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Joiner(None).join, near, far, counted)
        await client.send_all(b"question")
        await client.send_eof()
        assert await read_all(agent) == b"question"
        await agent.send_all(b"answer")
        await agent.send_eof()
        assert await read_all(client) == b"answer"
    assert (counted.to_agent, counted.to_client) == (8, 6)


async def test_what_was_read_ahead_goes_first(make_streams: Callable[[], StreamPair]) -> None:
    (client, near), (far, agent) = make_streams(), make_streams()
    counted = traffic()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Joiner(None).join, PrefixedStream(b"ahead ", near), far, counted)
        await client.send_all(b"of the rest")
        await client.send_eof()
        assert await read_all(agent) == b"ahead of the rest"
        await agent.send_eof()
    assert counted.to_agent == 17


async def test_an_idle_stream_ends_with_the_reason(autojump_clock: trio.testing.MockClock) -> None:
    (_client, near), (far, _agent) = memory(), memory()
    assert await Joiner(None, idle_s=60).join(near, far, traffic()) == "idle_limit"
    assert 60 <= trio.current_time() <= 121


async def test_a_busy_stream_is_not_idle_and_ends_at_the_absolute_limit(
    autojump_clock: trio.testing.MockClock,
) -> None:
    (client, near), (far, agent) = memory(), memory()
    ended: list[str] = []

    async with trio.open_nursery() as nursery:

        async def join() -> None:
            joiner = Joiner(None, idle_s=60, absolute_s=600)
            ended.append(await joiner.join(near, far, traffic()))
            nursery.cancel_scope.cancel()

        nursery.start_soon(join)
        while True:
            await client.send_all(b".")
            await agent.receive_some()
            await trio.sleep(30)
    assert ended == ["absolute_limit"]


async def test_a_broken_stream_is_an_end_with_that_reason() -> None:
    (_client, near), (far, _agent) = memory(), memory()
    ended: list[str] = []
    async with trio.open_nursery() as nursery:

        async def join() -> None:
            ended.append(await Joiner(None).join(near, far, traffic()))

        nursery.start_soon(join)
        await trio.testing.wait_all_tasks_blocked()
        await far.aclose()
    assert ended == ["broken"]


async def test_drain_waits_for_copied_streams() -> None:
    (client, near), (far, agent) = memory(), memory()
    joiner, drained = Joiner(None), trio.Event()

    async def drain() -> None:
        await joiner.drain()
        drained.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(joiner.join, near, far, traffic())
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(drain)
        await trio.testing.wait_all_tasks_blocked()
        assert not drained.is_set()
        await client.send_eof()
        await agent.send_eof()
    assert drained.is_set()
