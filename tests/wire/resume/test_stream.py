"""Resumable streams under Trio, over transports that are cut."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio
import trio.testing

from kled_wire.resume.driver import TransportLost
from kled_wire.resume.frames import DATA, DATA_MAX, PING, PONG, New, encode_header
from kled_wire.resume.redial import keep_attached
from kled_wire.resume.state import DEAD_S, StreamState
from kled_wire.resume.stream import ResumableStream
from kled_wire.resume.window import WINDOW_MIN
from tests.wire.resume.links import Network, Transport, linked
from tests.wire.sockets import pair


async def test_each_direction_ends_by_itself() -> None:
    async with trio.open_nursery() as nursery:

        async def make() -> tuple[ResumableStream, ResumableStream]:
            network, client = Network(nursery, sockets=True), ResumableStream(StreamState())
            keep = partial(keep_attached, client, New.draw(os.urandom), network.dial)
            nursery.start_soon(partial(keep, random_bytes=os.urandom, direct=network.seeker))
            return client, network.agent

        client, agent = await make()
        async with trio.open_nursery() as both:
            both.start_soon(client.send_all, b"question")
            assert await agent.receive_some() == b"question"
            await agent.send_all(b"answer")
            await agent.send_eof()
        assert await client.receive_some() == b"answer"
        assert await client.receive_some() == b""
        await client.send_all(b"and one more")
        await client.send_eof()
        assert await agent.receive_some() == b"and one more"
        assert await agent.receive_some() == b""
        await client.wait_over()
        await agent.wait_over()
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("sockets", [True, False])
async def test_bytes_survive_cuts_in_both_directions(*, sockets: bool) -> None:
    size = 8_000_000 if sockets else 200_000
    there, back = random.Random(1).randbytes(size), random.Random(2).randbytes(size)
    received: dict[str, bytes] = {}

    async def send(stream: ResumableStream, data: bytes) -> None:
        for start in range(0, len(data), 100_000):
            await stream.send_all(data[start : start + 100_000])
        await stream.send_eof()

    async def receive(name: str, stream: ResumableStream) -> None:
        whole = bytearray()
        while data := await stream.receive_some():
            whole += data
        received[name] = bytes(whole)

    async with linked(sockets=sockets) as (client, network):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send, client, there)
            nursery.start_soon(send, network.agent, back)
            nursery.start_soon(receive, "agent", network.agent)
            nursery.start_soon(receive, "client", client)
            for _ in range(20):
                before = client.state.inbox.received
                with trio.move_on_after(5):
                    while client.state.inbox.received < min(before + size // 40, size):
                        await trio.lowlevel.checkpoint()
                await network.cut()
        assert network.dials > 10 or not sockets  # in memory it may be over before the cuts
    assert _digest(received["agent"]) == _digest(there)
    assert _digest(received["client"]) == _digest(back)


@pytest.mark.slow
async def test_a_gigabyte_survives_fifty_cuts() -> None:
    size, chance = 1_000_000_000, random.Random(5)
    # Not so late that the last of them find everything over.
    cuts = sorted(chance.sample(range(size * 9 // 10), 50))
    block = chance.randbytes(1 << 20)
    sent, got, got_bytes = hashlib.sha256(), hashlib.sha256(), 0

    async def send(stream: ResumableStream) -> None:
        left = size
        while left:
            # Each begins elsewhere, so that no two pieces could be exchanged unnoticed.
            piece = block[chance.randrange(1000) :][:left]
            sent.update(piece)
            left -= len(piece)
            await stream.send_all(piece)
        await stream.send_eof()

    async with linked() as (client, network), trio.open_nursery() as nursery:
        nursery.start_soon(send, client)
        while data := await network.agent.receive_some():
            got.update(data)
            got_bytes += len(data)
            if cuts and got_bytes > cuts[0] and network.dials == 51 - len(cuts):
                cuts.pop(0)
                await network.cut()
    assert not cuts
    assert network.dials == 51
    assert (got_bytes, got.digest()) == (size, sent.digest())


async def test_the_end_with_a_reason_reaches_the_other_side() -> None:
    async with linked() as (client, network):
        await client.send_all(b"x")
        assert await network.agent.receive_some() == b"x"
        await network.agent.send_all(b"last words")
        network.agent.reset("detached_limit", "detached for too long")
        assert await client.receive_some() == b"last words"
        with pytest.raises(trio.BrokenResourceError, match="too long"):
            await client.receive_some()


async def test_a_newer_transport_takes_over_from_a_live_one() -> None:
    async with linked() as (client, network):
        await client.send_all(b"one")
        assert await network.agent.receive_some() == b"one"
        older = list(network._live)
        for end in older[:1]:
            await trio.aclose_forcefully(end)  # the client notices, the agent not yet
        await client.send_all(b"two")
        assert await network.agent.receive_some() == b"two"
        assert network.agent.attached


async def test_a_full_window_holds_the_writer_back(autojump_clock: trio.testing.MockClock) -> None:
    stream = ResumableStream(StreamState())
    with trio.move_on_after(60) as scope:
        await stream.send_all(bytes(64 * 1024 * 1024))
    assert scope.cancelled_caught
    assert stream.state.outbox.unacked <= stream.state.window.size + 64 * 1024


async def test_room_that_comes_with_a_new_transport_wakes_the_writer(
    autojump_clock: trio.testing.MockClock,
) -> None:
    near, far = trio.testing.memory_stream_pair()
    stream = ResumableStream(StreamState())
    await stream.send_all(bytes(WINDOW_MIN))
    # An earlier transport has brought it, and was lost before it was acknowledged.
    stream.state.pieces(0.0, limit=WINDOW_MIN)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stream.send_all, b"more")
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(stream.run_transport, near, WINDOW_MIN)
        with trio.fail_after(1):
            assert b"more" in await far.receive_some()
        nursery.cancel_scope.cancel()


async def test_a_silent_transport_is_given_up(autojump_clock: trio.testing.MockClock) -> None:
    near, _far = trio.testing.memory_stream_pair()
    stream = ResumableStream(StreamState())
    with pytest.raises(TransportLost, match="silent"):
        await stream.run_transport(near, 0)
    assert trio.current_time() == pytest.approx(DEAD_S, abs=6)


async def test_one_that_takes_nothing_is_given_up_too(
    autojump_clock: trio.testing.MockClock,
) -> None:
    near, _far = trio.testing.lockstep_stream_pair()
    stream = ResumableStream(StreamState())
    await stream.send_all(b"stuck")
    with pytest.raises(TransportLost, match="silent"):
        await stream.run_transport(near, 0)
    assert trio.current_time() == pytest.approx(DEAD_S, abs=1)


@asynccontextmanager
async def fed(data: bytes) -> AsyncIterator[tuple[ResumableStream, Transport, trio.Event]]:
    """A stream on a socket that is full of `data`, its peer, and when that socket is lost."""
    lost = trio.Event()
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listeners[0] as listener, trio.open_nursery() as nursery:
        near = await trio.testing.open_stream_to_socket_listener(listener)
        far = await listener.accept()
        stream = ResumableStream(StreamState())

        async def carry() -> None:
            with pytest.raises(TransportLost):
                await stream.run_transport(near, 0)
            lost.set()

        async with near, far:
            nursery.start_soon(far.send_all, data)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(carry)
            with trio.fail_after(5):
                yield stream, far, lost
            nursery.cancel_scope.cancel()


def in_blocks(data: bytes) -> bytes:
    """DATA frames of the largest size."""
    return b"".join(
        encode_header(DATA, start, len(data[start : start + DATA_MAX]))
        + data[start : start + DATA_MAX]
        for start in range(0, len(data), DATA_MAX)
    )


MUCH = random.Random(3).randbytes(8 * DATA_MAX)


async def test_who_is_cancelled_between_large_blocks_loses_none() -> None:
    got = bytearray()
    async with fed(in_blocks(MUCH)) as (stream, _, _):
        while len(got) < len(MUCH):
            with trio.CancelScope() as scope:
                got += await stream.receive_some()
                scope.cancel()
                got += await stream.receive_some()
    assert got == MUCH


async def test_what_an_application_has_left_unread_is_read_all_the_same() -> None:
    """Else acknowledgements and pings behind it would not be seen."""
    async with fed(in_blocks(MUCH) + encode_header(PING, 7)) as (stream, far, _):
        first = await stream.receive_some()
        while encode_header(PONG, 7) not in await far.receive_some():
            pass
        assert stream.state.inbox.received == len(MUCH)
        rest = bytearray()
        while len(first) + len(rest) < len(MUCH):
            rest += await stream.receive_some()
    assert first + rest == MUCH


async def test_a_fault_between_large_blocks_costs_the_transport_and_nothing_else() -> None:
    """What came in one read with the fault comes again on the next transport."""
    got = bytearray()
    wrong = encode_header(DATA, 10**9, DATA_MAX) + bytes(DATA_MAX)
    async with fed(in_blocks(MUCH) + wrong) as (stream, _, lost), trio.open_nursery() as nursery:

        async def read() -> None:
            while True:
                got.extend(await stream.receive_some())

        nursery.start_soon(read)
        await lost.wait()
        nursery.cancel_scope.cancel()
    assert MUCH.startswith(got)
    assert stream.state.inbox.received == len(got)
    assert not stream.attached


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


async def test_it_is_a_half_closeable_stream() -> None:
    """Without a clogged pair: what a window takes before its first acknowledgement waits here."""

    async def carry(stream: ResumableStream, transport: trio.SocketStream) -> None:
        try:
            await stream.run_transport(transport, 0)
        except TransportLost:
            stream.fail("transport_lost", "lost")

    async def make() -> tuple[ResumableStream, ResumableStream]:
        await trio.lowlevel.checkpoint()
        ends = ResumableStream(StreamState()), ResumableStream(StreamState())
        for stream, transport in zip(ends, pair(), strict=True):
            nursery.start_soon(carry, stream, transport)
        return ends

    async with trio.open_nursery() as nursery:
        await trio.testing.check_half_closeable_stream(make, None)
        nursery.cancel_scope.cancel()
