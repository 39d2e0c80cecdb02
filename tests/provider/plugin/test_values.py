"""Terraform values: round trips, unknown and null apart, types held to the schema."""

from __future__ import annotations

import contextlib
from typing import Any

import msgpack  # type: ignore[import-untyped]  # msgpack ships no types
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kled_provider.grpc import protobuf
from kled_provider.plugin.diagnostics import DiagnosticError, MapKey
from kled_provider.plugin.schema import (
    NUMBER,
    Attribute,
    Block,
    Nesting,
    Schema,
    list_of,
    map_of,
    set_of,
)
from kled_provider.plugin.values import (
    UNKNOWN,
    ValueFormatError,
    conform_object,
    decode_object,
    decode_value,
    encode_value,
    is_known,
    settled,
)

LEAVES = (
    st.none()
    | st.just(UNKNOWN)
    | st.booleans()
    | st.text()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
)
VALUES = st.recursive(LEAVES, lambda v: st.lists(v) | st.dictionaries(st.text(), v), max_leaves=20)

SCHEMA = Schema(
    attributes=(
        Attribute(name="name", required=True),
        Attribute(name="size", type=NUMBER, optional=True),
        Attribute(name="args", type=list_of("string"), optional=True),
        Attribute(name="env", type=map_of("string"), optional=True),
    )
)


@given(VALUES)
def test_a_value_comes_back(value: Any) -> None:
    assert decode_value(encode_value(value)) == value


@given(st.binary(max_size=200))
def test_garbage_is_refused_with_one_of_two_errors(data: bytes) -> None:
    for encoded in (data, protobuf.message(1, data), protobuf.message(2, data)):
        with contextlib.suppress(ValueFormatError, protobuf.WireError, DiagnosticError):
            decode_object(encoded, SCHEMA)


@pytest.mark.parametrize(
    "extension", [msgpack.ExtType(0, b"\0"), msgpack.ExtType(12, b"\x81\1\xc2")]
)
def test_any_extension_is_unknown(extension: Any) -> None:
    assert decode_value(protobuf.message(1, msgpack.packb({"a": extension}))) == {"a": UNKNOWN}


def test_unknown_is_written_as_cty_writes_it() -> None:
    assert encode_value(UNKNOWN) == protobuf.message(1, b"\xd4\x00\x00")


def test_json_is_read_too() -> None:
    assert decode_value(protobuf.message(2, b'{"a": [1, null]}')) == {"a": [1, None]}


def test_a_number_that_no_float_holds_comes_back_as_it_was() -> None:
    """cty writes 0.1 as text; read as a float it would be another number."""
    body = Schema(attributes=(Attribute(name="n", type=NUMBER, optional=True),))
    sent = protobuf.message(1, msgpack.packb({"n": "0.1"}))
    value = decode_object(sent, body)
    assert value == decode_object(protobuf.message(2, b'{"n": 0.1}'), body)
    assert encode_value(value) == sent


def test_equal_sets_are_equal_lists() -> None:
    peer = Block(name="peer", nesting=Nesting.SET, attributes=SCHEMA.attributes[:1])
    body = Schema(
        blocks=(peer,), attributes=(Attribute(name="s", type=set_of("string"), required=True),)
    )
    one = {"s": ["a", "b"], "peer": [{"name": "x"}, {"name": "y"}]}
    other = {"s": ["b", "a"], "peer": [{"name": "y"}, {"name": "x"}]}
    assert conform_object(one, body) == conform_object(other, body)
    assert conform_object({}, body) == {"s": None, "peer": []}


def test_an_object_gets_all_its_attributes_and_no_others() -> None:
    found = conform_object({"name": "x", "strange": 1}, SCHEMA)
    assert found == {"name": "x", "size": None, "args": None, "env": None}


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"name": 1}, ("name",)),
        ({"size": True}, ("size",)),
        ({"size": "1e+99999999"}, ("size",)),  # as cty writes what no float holds
        ({"size": float("-inf")}, ("size",)),
        ({"args": {"a": "b"}}, ("args",)),
        ({"args": ["a", 1]}, ("args", 1)),
        ({"env": {"a": 1}}, ("env", MapKey("a"))),
    ],
)
def test_a_wrong_type_is_told_with_its_path(value: dict[str, Any], path: Any) -> None:
    with pytest.raises(DiagnosticError) as caught:
        conform_object(value, SCHEMA)
    assert caught.value.diagnostics[0].path == path


def test_settled_leaves_nothing_unknown() -> None:
    state = settled({"a": UNKNOWN, "b": [UNKNOWN], "c": {"d": UNKNOWN}, "e": 1})
    assert state == {"a": None, "b": None, "c": {"d": None}, "e": 1}
    assert is_known(state)
    blocks = settled({"block": [{"name": "x", "id": UNKNOWN}]})
    assert blocks == {"block": [{"name": "x", "id": None}]}
