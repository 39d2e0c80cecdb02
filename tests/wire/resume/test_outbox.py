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
        assert b"".join(bytes(chunk) for _, chunk in taken) == whole[position:]
        assert [offset for offset, _ in taken][:1] in ([position], [])


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
    assert [len(chunk) for _, chunk in outbox.take(10**9)] == [DATA_MAX, DATA_MAX, 1]
