"""One transport under a stream: what is due goes out to the last byte, what comes is handed on."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from kled_wire.resume import frames
from kled_wire.resume.driver import TransportDriver, TransportLost
from kled_wire.resume.state import StreamState
from kled_wire.scheduling import SMALL_BLOCK_BYTES, TypingPriority
from kled_wire.transport.prefixed import PrefixedStream
from tests.kit.sockets import trio_stream

Side = trio.abc.HalfCloseableStream

BLOCK = bytes(range(256)) * 1024


class End:
    """A state attached to a transport, and what its driver hands on."""

    def __init__(self, transport: trio.abc.HalfCloseableStream) -> None:
        self.state = StreamState()
        self.state.attach(0, trio.current_time())
        self.got: list[bytes] = []
        self.priority = TypingPriority()
        self.driver = TransportDriver(
            self.state, transport, self._deliver, lambda: None, lambda: self.priority
        )

    def _deliver(self, data: bytes, now: float) -> None:
        self.got.append(data)
        if self.state.consumed(len(data), now):
            self.driver.flush_nowait()
        else:
            self.driver.wake_in_time()


@asynccontextmanager
async def pair(*, sockets: bool = True) -> AsyncIterator[tuple[Side, Side]]:
    """Two ends of a transport, closed at the end."""
    near: Side
    far: Side
    if sockets:
        near, far = map(trio_stream, socket.socketpair())
    else:
        near, far = trio.testing.memory_stream_pair()
    async with near, far:
        yield near, far


async def read_frames(transport: trio.abc.ReceiveStream) -> list[frames.Frame]:
    """All frames to the end, payloads as bytes."""
    parser, got = frames.FrameParser(), []
    async for data in transport:
        got += [frame._replace(payload=bytes(frame.payload)) for frame in parser.feed(bytes(data))]
    return got


async def test_blocks_are_small_while_somebody_types() -> None:
    async with pair() as (near, far):
        end = End(near)
        end.priority.terminal_wrote(1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(end.driver.run)
            with trio.fail_after(5):
                await far.send_all(frames.encode_header(frames.DATA, 0, len(BLOCK)) + BLOCK)
                while sum(map(len, end.got)) < len(BLOCK):
                    await far.receive_some()
            end.driver.leave()
        assert b"".join(end.got) == BLOCK
        assert max(map(len, end.got)) <= SMALL_BLOCK_BYTES


# The order in which Trio runs tasks is random: what depends on it shows after a few.
@pytest.mark.parametrize("sockets", [True, False])
@pytest.mark.parametrize("_round", range(10))
async def test_a_reason_that_is_due_reaches_the_peer_whatever_runs_first(
    *, sockets: bool, _round: int
) -> None:
    async with pair(sockets=sockets) as (near, far):
        end = End(near)
        end.state.reset("detached_limit", "too long")
        with trio.fail_after(5):
            await end.driver.run()
            await near.aclose()
            (frame,) = await read_frames(far)
        assert frames.decode_reason(frame.payload) == ("detached_limit", "too long")


async def test_large_payloads_are_handed_on_without_their_headers() -> None:
    async with pair() as (near, far):
        end = End(near)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(end.driver.run)
            with trio.fail_after(5):
                for number in range(3):
                    head = frames.encode_header(frames.DATA, number * len(BLOCK), len(BLOCK))
                    await far.send_all(head + BLOCK)
                while sum(map(len, end.got)) < 3 * len(BLOCK):
                    await far.receive_some()  # an ack, as the bytes are taken
            end.driver.leave()
        assert b"".join(end.got) == BLOCK * 3


@pytest.mark.parametrize("sockets", [True, False])
async def test_what_was_read_ahead_comes_first(*, sockets: bool) -> None:
    async with pair(sockets=sockets) as (near, far):
        said = frames.encode_header(frames.DATA, 0, 6) + b"abcdef"
        end = End(PrefixedStream(said[:14], near))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(end.driver.run)
            with trio.fail_after(5):
                await far.send_all(said[14:] + frames.encode_header(frames.PING, 7))
                while bytes(await far.receive_some())[:1] != bytes([frames.PONG]):
                    pass
            end.driver.leave()
        assert b"".join(end.got) == b"abcdef"


async def test_a_transport_that_was_left_hands_nothing_on() -> None:
    async with pair() as (near, far):
        end = End(near)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(end.driver.run)
            await trio.testing.wait_all_tasks_blocked()
            end.driver.leave()
            await far.send_all(frames.encode_header(frames.DATA, 0, 1) + b"x")
        assert end.got == []


async def test_nor_what_was_read_ahead_of_one_that_was_left_before_it_began() -> None:
    async with pair() as (near, _):
        end = End(PrefixedStream(frames.encode_header(frames.DATA, 0, 2) + b"x", near))
        end.driver.leave()
        await end.driver.run()
        assert end.got == []
        # Nor is the next transport's first byte taken for the rest of the payload.
        assert end.state.receive(b"x", 1.0) == []


async def test_a_transport_that_ends_is_lost() -> None:
    async with pair() as (near, far):
        await far.aclose()
        with pytest.raises(TransportLost):
            await End(near).driver.run()
