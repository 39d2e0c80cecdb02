"""A real relay process that limits and divides bandwidth."""

from __future__ import annotations

import os
import select
import socket
import struct
import sys
import time
from collections.abc import Callable

import pytest
import trio

from kled_coord.metrics import Metrics
from kled_coord.relay.splice.bandwidth import QUANTUM_BYTES, Share
from kled_coord.relay.splice.handover import (
    PACKET_MAX,
    EndReason,
    Moved,
    Open,
    StopRelay,
    StreamDone,
    decode,
)
from kled_coord.relay.splice.process import RelayProcess, Terms
from kled_coord.relay.splice.splicer import Splicer
from kled_coord.relay.splice.traffic import Traffic
from tests.coord.relay.conftest import StreamPair
from tests.coord.relay.sockets import connected, read_all

MakeStreams = Callable[[], StreamPair]

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="splice(2) and epoll(7) are Linux's"
)
RATE = 2_000_000
LIMITED = Terms(shares=(Share(1, RATE), Share(2, 10 * RATE)))


def traffic() -> Traffic:
    return Traffic(on_count=lambda _to_agent, _to_client: None)


async def test_a_limited_stream_is_no_faster_and_loses_nothing(
    nursery: trio.Nursery, make_streams: MakeStreams
) -> None:
    relay = RelayProcess(Metrics(), "0", lambda: None)
    await nursery.start(relay.run)
    (client, near), (far, agent) = make_streams(), make_streams()
    payload = os.urandom(RATE)
    ended: list[str] = []

    async def join() -> None:
        ended.append(await relay.join(near, far, traffic(), LIMITED))

    async with trio.open_nursery() as joining:
        joining.start_soon(join)
        began = trio.current_time()

        async def send() -> None:
            await client.send_all(payload)
            await client.send_eof()

        joining.start_soon(send)
        assert await read_all(agent) == payload
        # A limit, so never sooner, however slow the machine.
        assert trio.current_time() - began >= (RATE - RATE * 0.1 - QUANTUM_BYTES) / RATE
        await agent.send_eof()
    assert ended == ["closed"]
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("terms", "size"), [(Terms(), 20_000_000), (LIMITED, RATE // 2)], ids=["free", "limited"]
)
async def test_what_a_client_sent_before_it_closed_reaches_a_slow_reader(
    nursery: trio.Nursery, make_streams: MakeStreams, terms: Terms, size: int
) -> None:
    relay = RelayProcess(Metrics(), "0", lambda: None)
    await nursery.start(relay.run)
    (client, near), (far, agent) = make_streams(), make_streams()
    payload = os.urandom(size)
    async with trio.open_nursery() as joining:
        joining.start_soon(relay.join, near, far, traffic(), terms)
        # The agent's way is over first, so the client's end makes its socket a dead one (EPOLLHUP).
        await agent.send_eof()
        assert await client.receive_some() == b""

        async def send() -> None:
            await client.send_all(payload)
            await client.aclose()

        joining.start_soon(send)
        got = bytearray()
        while len(got) < size:
            piece = await agent.receive_some(100_000)
            assert piece, f"cut after {len(got)} bytes"
            got += piece
        assert bytes(got) == payload
        assert await agent.receive_some() == b""
    nursery.cancel_scope.cancel()


async def test_streams_that_share_a_limit_divide_it_and_others_are_free(
    nursery: trio.Nursery, make_streams: MakeStreams
) -> None:
    relay = RelayProcess(Metrics(), "0", lambda: None)
    await nursery.start(relay.run)
    got = {"first": 0, "second": 0}
    enough = trio.Event()

    async def count(name: str, agent: trio.SocketStream) -> None:
        while data := await agent.receive_some(QUANTUM_BYTES):
            got[name] += len(data)
            if sum(got.values()) > RATE:
                enough.set()

    async with trio.open_nursery() as joining:
        for name in got:
            (client, near), (far, agent) = make_streams(), make_streams()
            joining.start_soon(relay.join, near, far, traffic(), LIMITED)
            joining.start_soon(client.send_all, bytes(10 * RATE))
            joining.start_soon(count, name, agent)
        (client, near), (far, agent) = make_streams(), make_streams()
        joining.start_soon(relay.join, near, far, traffic(), Terms())
        joining.start_soon(client.send_all, bytes(2 * RATE))
        left = 2 * RATE
        while left:
            left -= len(await agent.receive_some(QUANTUM_BYTES))
        assert sum(got.values()) < RATE
        await enough.wait()
        joining.cancel_scope.cancel()
    assert min(got.values()) >= RATE * 0.4
    nursery.cancel_scope.cancel()


def test_a_new_stream_does_not_inherit_the_death_of_one_that_had_its_descriptors() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    theirs.setblocking(False)
    ours.settimeout(10)

    def hand_over(number: int) -> tuple[socket.socket, socket.socket]:
        (client, near), (far, agent) = connected(), connected()
        with near, far:
            packet = Open(number, 0, 0, ()).encode()
            socket.send_fds(ours, [packet], [near.fileno(), far.fileno()])
        return client, agent

    splicer = Splicer(theirs)
    with ours, theirs:
        for end in hand_over(1):
            # A reset, so that both sockets of the stream are dead at once.
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            end.close()
        splicer._receive()
        first, second = splicer.by_descriptor
        client, agent = hand_over(2)
        dead = select.EPOLLIN | select.EPOLLERR | select.EPOLLHUP
        splicer.serve_ready(
            [(first, dead), (theirs.fileno(), select.EPOLLIN), (second, dead)], time.monotonic()
        )
        with client, agent:
            assert set(splicer.by_descriptor) == {first, second}
            assert decode(ours.recv(PACKET_MAX)) == StreamDone(1, EndReason.BROKEN)
            client.sendall(b"x")
            splicer.serve_ready([(first, select.EPOLLIN)], time.monotonic())
            assert agent.recv(1) == b"x"
            ours.sendall(StopRelay().encode())
            splicer.run()
            assert decode(ours.recv(PACKET_MAX)) == Moved(2, 1, 0)
            assert decode(ours.recv(PACKET_MAX)) == StreamDone(2, EndReason.STOPPED)
