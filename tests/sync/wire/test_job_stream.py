"""Contents as one stream of a job: the blocks, and what a peer may send instead of them."""

from __future__ import annotations

import os
import random
import tracemalloc

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from kled_sync.wire import blocks
from kled_sync.wire.blocks import DATA, FRAME, STREAM_BEGIN, STREAM_NEXT, Unpacker, WireBlock
from kled_sync.wire.job_stream import JobCompressor, JobDecompressor
from kled_wire.errors import ProtocolError

WORDS = [random.Random(1).randbytes(3).hex() for _ in range(5000)]  # not secret


def text(size: int, seed: int = 1) -> bytes:
    return " ".join(random.Random(seed).choices(WORDS, k=size // 7)).encode()


def through_wire(block: WireBlock) -> WireBlock:
    reader = blocks.BlockReader()
    data = blocks.MAGIC + block.encoded()
    found = []
    while data:
        space = reader.space()
        part, data = data[: len(space)], data[len(space) :]
        space[: len(part)] = part
        found += [b._replace(payload=bytes(b.payload)) for b in reader.took(len(part))]
    (one,) = found
    return one


@given(
    st.lists(
        st.tuples(
            st.sampled_from([0, 1, 100, 5000, 70_000, 300_000]),
            st.booleans(),
            st.sampled_from([1, 3, 6]),
        ),
        max_size=8,
    ),
    st.booleans(),
)
def test_what_was_packed_comes_out(parts: list[tuple[int, bool, int]], streams: bool) -> None:
    sender, receiver, frames = JobCompressor(7, streams=streams), JobDecompressor(), Unpacker()
    for number, (size, is_text, level) in enumerate(parts):
        data = text(size, number) if is_text else os.urandom(size)
        block = through_wire(sender.pack(data, level))
        assert streams or block.flags <= FRAME
        assert bytes(receiver.unpack(block, frames)) == data


def test_blocks_share_what_they_have_in_common() -> None:
    parts = [text(256 * 1024, seed) for seed in range(8)]
    sizes = []
    for streams in (False, True):
        sender = JobCompressor(1, streams=streams)
        sizes.append(sum(len(sender.pack(part, 3).payload) for part in parts))
    assert sizes[1] < 0.85 * sizes[0]


def test_what_does_not_shrink_is_sent_as_it_is_and_the_stream_goes_on() -> None:
    sender = JobCompressor(1, streams=True)
    kinds = [text(100_000), os.urandom(100_000), os.urandom(100_000), text(100_000, 2)]
    flags = [sender.pack(data, 3).flags for data in kinds]
    assert flags == [STREAM_BEGIN, STREAM_NEXT, 0, STREAM_NEXT]


def test_another_level_begins_another_stream() -> None:
    sender = JobCompressor(1, streams=True)
    flags = [sender.pack(text(100_000), level).flags for level in (1, 1, 3, 3)]
    assert flags == [STREAM_BEGIN, STREAM_NEXT, STREAM_BEGIN, STREAM_NEXT]


def begun() -> tuple[JobCompressor, JobDecompressor]:
    sender, receiver = JobCompressor(1, streams=True), JobDecompressor()
    receiver.unpack(sender.pack(text(100_000), 3), Unpacker())
    return sender, receiver


def refused(receiver: JobDecompressor, block: WireBlock) -> str:
    with pytest.raises(ProtocolError) as caught:
        receiver.unpack(block, Unpacker())
    assert caught.value.code == "sync_block_refused"
    return caught.value.message


def test_a_stream_that_was_not_begun_is_refused() -> None:
    sender, _ = begun()
    assert "not begun" in refused(JobDecompressor(), sender.pack(text(100_000), 3))


@pytest.mark.parametrize("lie", [-1, 1, 100_000])
def test_a_block_that_states_another_size_is_refused(lie: int) -> None:
    sender, receiver = begun()
    block = sender.pack(text(100_000, 2), 3)
    block = block._replace(raw_bytes=block.raw_bytes + lie)
    if lie > 0:
        refused(receiver, block)
        return
    # What was left over is not lost on the receiver: the next block is not what it says.
    wrong = bytes(receiver.unpack(block, Unpacker()))
    assert wrong == text(100_000, 2)[:lie]


def test_damage_is_refused() -> None:
    sender, receiver = begun()
    block = sender.pack(text(100_000, 2), 3)
    assert refused(receiver, block._replace(payload=os.urandom(len(block.payload))))


def test_the_end_of_a_stream_is_refused_where_more_is_stated() -> None:
    receiver = JobDecompressor()
    whole = zstandard.ZstdCompressor().compress(b"short")
    assert refused(receiver, WireBlock(STREAM_BEGIN, DATA, 1, 50, whole))


def test_a_bomb_takes_no_more_memory_than_it_states() -> None:
    bomb = zstandard.ZstdCompressor(level=19).compress(bytes(500_000_000))
    assert len(bomb) < blocks.BLOCK_BYTES_MAX
    tracemalloc.start()
    receiver = JobDecompressor()
    receiver.unpack(WireBlock(STREAM_BEGIN, DATA, 1, 1000, bomb), Unpacker())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000_000


def test_a_stream_that_wants_a_large_window_is_refused() -> None:
    wide = zstandard.ZstdCompressionParameters.from_level(3, window_log=27)
    stream = zstandard.ZstdCompressor(compression_params=wide).compressobj()
    payload = stream.compress(bytes(100_000)) + stream.flush()
    assert "memory" in refused(
        JobDecompressor(), WireBlock(STREAM_BEGIN, DATA, 1, 100_000, payload)
    )


def test_a_message_is_in_no_stream() -> None:
    with pytest.raises(ProtocolError):
        blocks.decode_head(blocks.HEAD.pack(STREAM_NEXT, blocks.CONTROL, 1, 10, 10))
