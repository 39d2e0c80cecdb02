"""Contents on their way through a session: whole, in order, and not copied where that can be."""

from __future__ import annotations

import fcntl
import os
import random
import socket
import sys

import pytest
import trio

from kled_sync.session.sides.peer import Peer
from kled_sync.session.sides.streams import PipeStream, open_passage
from kled_sync.wire.blocks import DATA, MAGIC, Packer
from kled_wire.errors import UnavailableError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="splice(2)")
_PIPE_BYTES = 1024 * 1024


class _Ends:
    """A stream of a session, and what an endpoint has of it; it counts what is copied."""

    def __init__(self) -> None:
        self.reads, to = os.pipe()
        out, self.writes = os.pipe()
        fcntl.fcntl(out, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        self.stream = _Counted(
            trio.StapledStream(trio.lowlevel.FdStream(to), trio.lowlevel.FdStream(out))
        )

    async def say(self, data: bytes) -> None:
        """As the endpoint, and end."""
        async with trio.lowlevel.FdStream(self.writes) as writer:
            await writer.send_all(data)

    async def hear(self, into: list[bytes]) -> None:
        async with trio.lowlevel.FdStream(self.reads) as reader:
            while data := await reader.receive_some():
                into.append(bytes(data))


class _Counted(PipeStream):
    copied = 0

    async def receive_into(self, space: memoryview) -> int:
        count = await super().receive_into(space)
        self.copied += count
        return count


def blocks_of(sizes: list[int]) -> bytes:
    dice = random.Random(1)
    packed = [Packer().pack(DATA, 1, dice.randbytes(size)) for size in sizes]
    return b"".join(bytes(block.encoded()) for block in packed)


async def passed_on(source: _Ends, said: bytes) -> tuple[bytes, list[int]]:
    """What the other endpoint hears of what `source` says, and the sizes that were told of."""
    target = _Ends()
    sizes: list[int] = []
    heard: list[bytes] = []
    peers = Peer("here", source.stream), Peer("there", target.stream)
    peers[0].pass_on(peers[1], lambda block: sizes.append(block.raw_bytes))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(target.hear, heard)
        nursery.start_soon(source.say, said)
        with pytest.raises(UnavailableError):
            await peers[0].run()
        await target.stream.writer.aclose()
    os.close(target.writes)
    os.close(source.reads)
    assert peers[1].sent_bytes == sum(map(len, heard))
    return b"".join(heard), sizes


async def test_contents_come_whole_and_in_order_whatever_their_size() -> None:
    dice = random.Random(2)
    wanted = [dice.choice([100, 20_000, 300_000, 700_000, 1_200_000]) for _ in range(60)]
    sent = blocks_of(wanted)
    heard, sizes = await passed_on(_Ends(), MAGIC + sent)
    assert heard == MAGIC + sent
    assert sizes == wanted


async def test_blocks_that_are_there_are_not_copied() -> None:
    sent = blocks_of([400_000, 400_000])
    source = _Ends()
    heard, _ = await passed_on(source, MAGIC + sent)
    assert heard == MAGIC + sent
    assert source.stream.copied < 300_000


async def test_half_a_block_is_not_passed_on() -> None:
    whole, half = blocks_of([300_000]), blocks_of([300_000])[:-1]
    heard, sizes = await passed_on(_Ends(), MAGIC + whole + half)
    assert heard == MAGIC + whole
    assert sizes == [300_000]


async def test_there_is_no_passage_but_between_pipes() -> None:
    one, other = socket.socketpair()
    both = trio.lowlevel.FdStream(one.detach()), trio.lowlevel.FdStream(other.detach())
    sockets = PipeStream(trio.StapledStream(*both))
    pipes = _Ends()
    assert open_passage(sockets, pipes.stream) is None
    assert open_passage(pipes.stream, sockets) is None
    assert open_passage(pipes.stream, pipes.stream) is not None
    for end in (pipes.reads, pipes.writes):
        os.close(end)
    for stream in (*both, pipes.stream.reader, pipes.stream.writer):
        await stream.aclose()
