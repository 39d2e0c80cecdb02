"""Packets between the coordinator and a relay process."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kled_coord.relay.splice.bandwidth import Share
from kled_coord.relay.splice.handover import (
    PACKET_MAX,
    Close,
    EndReason,
    Moved,
    Open,
    Packet,
    StopRelay,
    StreamDone,
    decode,
)

NUMBER = st.integers(0, 2**64 - 1)
SECONDS = st.floats(0, 1e9)
SHARE = st.builds(Share, NUMBER, st.integers(1, 2**64 - 1))
SHARES = st.lists(SHARE, max_size=2).map(tuple)
PACKET = st.one_of(
    st.builds(Open, NUMBER, SECONDS, SECONDS, SHARES),
    st.builds(Close, NUMBER),
    st.builds(Moved, NUMBER, NUMBER, NUMBER),
    st.builds(StreamDone, NUMBER, st.sampled_from(EndReason)),
    st.just(StopRelay()),
)


@given(PACKET)
def test_every_packet_survives_the_way(packet: Packet) -> None:
    assert len(packet.encode()) <= PACKET_MAX
    assert decode(packet.encode()) == packet


@given(st.binary(max_size=PACKET_MAX))
def test_garbage_is_a_value_error_and_nothing_else(data: bytes) -> None:
    try:
        decode(data)
    except ValueError:
        return
    assert data[:1] in {b"O", b"X", b"M", b"D", b"S"}


@pytest.mark.parametrize(
    "packet", [b"", b"?", b"O", b"D\0", StreamDone(1, EndReason.BROKEN).encode()[:-1] + b"\xff"]
)
def test_a_malformed_packet_is_named(packet: bytes) -> None:
    with pytest.raises(ValueError, match=r"packet|EndReason"):
        decode(packet)
