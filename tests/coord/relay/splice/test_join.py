"""Streams on their way to a relay process: what was read ahead, what lies around them."""

from __future__ import annotations

from collections.abc import Callable

import trio

from kled_coord.metrics import Metrics
from kled_coord.offload.stream import OffloadedStream
from kled_coord.relay.splice.join import Joiner
from kled_coord.relay.splice.pool import RelayPool
from kled_coord.relay.splice.traffic import Traffic
from kled_wire.transport.prefixed import PrefixedStream
from tests.coord.relay.conftest import StreamPair
from tests.coord.relay.sockets import read_all


async def test_what_was_read_ahead_goes_first_both_ways_and_counts(
    make_streams: Callable[[], StreamPair], nursery: trio.Nursery
) -> None:
    (client, near), (far, agent), (outer, inner) = (make_streams() for _ in range(3))
    counted = Traffic(on_count=lambda _to_agent, _to_client: None)
    relay = RelayPool(1, Metrics())
    await nursery.start(relay.run)
    ended: list[str] = []

    async def join() -> None:
        from_client = PrefixedStream(b"ahead ", OffloadedStream(near, inner))
        from_agent = PrefixedStream(b"greeting ", far)
        ended.append(await Joiner(relay).join(from_client, from_agent, counted))

    async with trio.open_nursery() as joining:
        joining.start_soon(join)
        await client.send_all(b"of the rest")
        await client.send_eof()
        assert await read_all(agent) == b"ahead of the rest"
        await agent.send_all(b"and answer")
        await agent.send_eof()
        assert await read_all(client) == b"greeting and answer"
    assert ended == ["closed"]
    assert (counted.to_agent, counted.to_client) == (17, 19)
    assert await outer.receive_some() == b"", "our copy of the client's connection is closed"
    nursery.cancel_scope.cancel()


async def test_limits_reach_the_relay_process(
    make_streams: Callable[[], StreamPair], nursery: trio.Nursery
) -> None:
    (_client, near), (far, _agent) = make_streams(), make_streams()
    relay = RelayPool(1, Metrics())
    await nursery.start(relay.run)
    joiner = Joiner(relay, absolute_s=0.05)
    counted = Traffic(on_count=lambda _to_agent, _to_client: None)
    assert await joiner.join(near, far, counted) == "absolute_limit"
    nursery.cancel_scope.cancel()
