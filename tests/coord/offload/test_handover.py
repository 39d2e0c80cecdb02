"""Packets between the coordinator and an offload process."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kled_coord.offload.handover import (
    PACKET_MAX,
    TEXT_MAX,
    Crashed,
    LayerKind,
    Packet,
    Renewed,
    StopOffload,
    Take,
    decode,
)
from kled_wire.limits import HEAD_MAX_BYTES

PACKET = st.one_of(
    st.builds(Take, st.sampled_from(LayerKind), st.binary(max_size=200)),
    st.builds(Renewed, st.text(max_size=TEXT_MAX)),
    st.builds(Crashed, st.text(max_size=TEXT_MAX)),
    st.just(StopOffload()),
)


@given(PACKET)
def test_every_packet_survives_the_way(packet: Packet) -> None:
    assert len(packet.encode()) <= PACKET_MAX
    assert decode(packet.encode()) == packet


def test_the_largest_packets_fit() -> None:
    assert len(Take(LayerKind.TLS, bytes(HEAD_MAX_BYTES)).encode()) <= PACKET_MAX
    assert decode(Renewed("é" * 10_000).encode()) == Renewed("é" * TEXT_MAX)


@given(st.binary(max_size=50))
def test_garbage_is_a_value_error_and_nothing_else(data: bytes) -> None:
    try:
        decode(data)
    except ValueError:
        return
    assert data[:1] in {b"T", b"R", b"C", b"S"}


@pytest.mark.parametrize("packet", [b"", b"?", b"T", b"T\x09", b"Sx", b"R\xff"])
def test_a_malformed_packet_is_named(packet: bytes) -> None:
    with pytest.raises(ValueError, match=r"packet|Kind|decode"):
        decode(packet)
