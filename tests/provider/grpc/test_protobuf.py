"""The wire codec: what it writes it reads, and garbage is told from messages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kled_provider.grpc import protobuf
from kled_provider.grpc.protobuf import WireError

NUMBERS = st.integers(-(1 << 63), (1 << 63) - 1)


@given(NUMBERS)
def test_integers_come_back(number: int) -> None:
    assert protobuf.decode(protobuf.integer(5, number)).integer(5) == number


@given(st.text(), st.binary(), st.lists(st.binary()))
def test_a_message_comes_back(text: str, blob: bytes, many: list[bytes]) -> None:
    encoded = protobuf.text(1, text) + protobuf.blob(2, blob)
    encoded += b"".join(protobuf.message(300, item) for item in many)
    fields = protobuf.decode(encoded)
    assert fields.text(1) == text
    assert fields.blob(2) == blob
    assert fields.blobs(300) == many


@given(st.binary(max_size=200))
def test_garbage_is_a_wire_error_and_nothing_else(data: bytes) -> None:
    try:
        fields = protobuf.decode(data)
        for number in fields.values:
            for read in (fields.text, fields.integer, fields.blobs):
                read(number)
    except WireError:
        pass


@given(st.binary(min_size=1, max_size=50), st.integers(0, 60))
def test_a_cut_message_is_refused(value: bytes, cut: int) -> None:
    encoded = protobuf.message(1, value)
    if 0 < cut < len(encoded):
        with pytest.raises(WireError):
            protobuf.decode(encoded[:cut])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x08" + b"\xff" * 10, "longer than ten bytes"),
        (b"\x08" + b"\xff" * 9 + b"\x7f", "64 bits"),
        (b"\x00\x00", "field number 0"),
        (b"\x0b", "wire type 3"),
        (b"\x0a\x05ab", "cut off"),
    ],
)
def test_each_fault_is_named(data: bytes, reason: str) -> None:
    with pytest.raises(WireError, match=reason):
        protobuf.decode(data)


def test_bytes_are_those_of_the_specification() -> None:
    """The examples of https://protobuf.dev/programming-guides/encoding/."""
    assert protobuf.integer(1, 150) == b"\x08\x96\x01"
    assert protobuf.text(2, "testing") == b"\x12\x07testing"
    assert protobuf.encode_varint(-2) == b"\xfe" + b"\xff" * 8 + b"\x01"
    assert protobuf.decode(b"\x0d\x01\x02\x03\x04\x11" + bytes(8) + b"\x18\x01").integer(3) == 1


def test_the_last_of_several_values_counts() -> None:
    assert protobuf.decode(b"\x08\x01\x08\x02").integer(1) == 2
