"""Datagrams in a stream."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kled_wire.ssh.datagrams import FLOW_MAX, DatagramReader, encode_datagram


@given(
    st.lists(st.tuples(st.integers(0, FLOW_MAX), st.binary(max_size=40)), max_size=8),
    st.integers(1, 20),
)
def test_datagrams_do_not_depend_on_how_the_stream_is_cut(
    sent: list[tuple[int, bytes]], step: int
) -> None:
    data = b"".join(encode_datagram(flow, datagram) for flow, datagram in sent)
    reader = DatagramReader()
    found = []
    for start in range(0, len(data), step):
        found += reader.feed(data[start : start + step])
    assert found == sent


def test_the_largest_datagram() -> None:
    data = bytes(65535)
    assert DatagramReader().feed(encode_datagram(1, data)) == [(1, data)]
