"""Unacknowledged bytes by offset."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kled_wire.errors import ProtocolError
from kled_wire.resume.frames import DATA_MAX
from kled_wire.resume.outbox import Outbox


@given(st.lists(st.binary(max_size=40), max_size=10), st.lists(st.integers(0, 300), max_size=10))
def test_a_rewind_gives_exactly_what_the_peer_lacks(written: list[bytes], acks: list[int]) -> None:
    outbox, whole = Outbox(), b"".join(written)
    for data in written:
        outbox.append(data)
    list(outbox.take(10**6))
    for position in acks:
        try:
            outbox.rewind(position)
        except ProtocolError:
            assert not outbox.start <= position <= outbox.end
            continue
        taken = list(outbox.take(10**6))
        assert b"".join(b"".join(chunks) for _, _, chunks in taken) == whole[position:]
        assert [offset for offset, _, _ in taken][:1] in ([position], [])


def test_an_ack_frees_an_old_one_says_nothing_and_one_beyond_is_refused() -> None:
    outbox = Outbox()
    outbox.append(b"abcdef")
    list(outbox.take(100))
    outbox.acked(4)
    assert outbox.unacked == 2
    outbox.acked(3)
    with pytest.raises(ProtocolError):
        outbox.acked(7)
    assert outbox.unacked == 2


def test_large_writes_are_cut_to_frames() -> None:
    outbox = Outbox()
    outbox.append(bytes(DATA_MAX * 2 + 1))
    frames = list(outbox.take(10**9))
    assert [length for _, length, _ in frames] == [DATA_MAX, DATA_MAX, 1]
    assert all(sum(map(len, chunks)) == length for _, length, chunks in frames)


def test_small_writes_share_a_frame() -> None:
    outbox = Outbox()
    for data in (b"head", bytes(DATA_MAX - 5), b"tail"):
        outbox.append(data)
    frames = [(offset, length, len(chunks)) for offset, length, chunks in outbox.take(10**9)]
    assert frames == [(0, DATA_MAX - 1, 2), (DATA_MAX - 1, 4, 1)]
