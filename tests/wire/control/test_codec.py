"""CBOR and control messages: round trips, and what a stranger can send."""

from __future__ import annotations

import dataclasses
import inspect
import re
import tracemalloc
from pathlib import Path

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kled_wire import limits
from kled_wire.control import codec, messages
from kled_wire.control.agent_spec import AgentSpec, Script
from kled_wire.errors import ProtocolError

_VALUES: dict[str, st.SearchStrategy[object]] = {
    "str": st.text(max_size=50),
    "int": st.integers(-(2**63), 2**63 - 1),
    "bool": st.booleans(),
    "float": st.floats(allow_nan=False),
    "tuple[str, ...]": st.lists(st.text(max_size=9), max_size=4).map(tuple),
    "tuple[UserKey, ...]": st.lists(
        st.builds(
            messages.UserKey,
            id=st.text(max_size=9),
            user=st.text(max_size=9),
            key=st.text(max_size=9),
            expires_in_s=st.floats(allow_nan=False),
        ),
        max_size=4,
    ).map(tuple),
    "bytes": st.binary(max_size=50),
    "AgentSpec": st.builds(
        AgentSpec,
        env=st.dictionaries(st.text(max_size=8), st.text(max_size=8)),
        scripts=st.lists(
            st.builds(Script, after=st.lists(st.text(max_size=3), max_size=2).map(tuple)),
            max_size=2,
        ).map(tuple),
        metadata=st.just(()),
        apps=st.just(()),
        thresholds=st.just(()),
        display_apps=st.just(()),
    ),
}


def _instances(kind: type[messages.Message]) -> st.SearchStrategy[messages.Message]:
    fields = {f.name: _VALUES[str(f.type)] for f in dataclasses.fields(kind)}
    return st.builds(kind, **fields)


any_message = st.one_of([_instances(kind) for kind in messages.ALL.values()])
any_cbor = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=12,
)


@pytest.mark.parametrize("kind", messages.ALL.values(), ids=lambda kind: str(kind.type))
def test_every_message_type_survives_the_wire(kind: type[messages.Message]) -> None:
    @given(_instances(kind))
    def check(message: messages.Message) -> None:
        assert codec.decode(codec.encode(message)) == message

    check()


@given(any_message, st.dictionaries(st.text(min_size=30, max_size=40), any_cbor, max_size=3))
def test_unknown_fields_are_ignored(message: messages.Message, more: dict[str, object]) -> None:
    fields = cbor2.loads(codec.encode(message))
    assert codec.decode(cbor2.dumps({**more, **fields})) == message


def _as_map(encoder: cbor2.CBOREncoder, value: messages.UserKey) -> None:
    encoder.encode(dataclasses.asdict(value))


@given(any_message)
def test_optional_fields_may_be_absent(message: messages.Message) -> None:
    required = {
        f.name: getattr(message, f.name)
        for f in dataclasses.fields(message)
        if f.default is dataclasses.MISSING
    }
    encoded = cbor2.dumps({"type": message.type, **required}, default=_as_map)
    decoded = codec.decode(encoded)
    assert decoded == type(message)(**required)


@given(any_message)
def test_a_required_field_that_is_absent_is_named(message: messages.Message) -> None:
    fields = cbor2.loads(codec.encode(message))
    for field in dataclasses.fields(message):
        if field.default is dataclasses.MISSING:
            without = {k: v for k, v in fields.items() if k != field.name}
            with pytest.raises(ProtocolError, match=f"{message.type} lacks {field.name}"):
                codec.decode(cbor2.dumps(without))


def test_an_unknown_type_becomes_unknown_with_its_name_cut() -> None:
    assert codec.decode(cbor2.dumps({"type": "news"})) == messages.UnknownMessage(of="news")
    assert codec.decode(cbor2.dumps({"type": "x" * 999})) == messages.UnknownMessage(of="x" * 64)


@given(st.binary(max_size=300))
def test_garbage_gives_a_protocol_error_and_nothing_else(data: bytes) -> None:
    _decode_or_refuse(data)


@given(any_cbor)
def test_any_cbor_value_gives_a_message_or_a_protocol_error(value: object) -> None:
    _decode_or_refuse(cbor2.dumps(value))


@given(st.sampled_from(sorted(messages.ALL)), st.dictionaries(st.text(max_size=12), any_cbor))
def test_fields_of_any_kind_give_a_message_or_a_protocol_error(
    tag: str, fields: dict[str, object]
) -> None:
    _decode_or_refuse(cbor2.dumps({**fields, "type": tag}))


@given(any_message, st.data())
def test_a_message_with_bytes_changed_gives_a_message_or_a_protocol_error(
    message: messages.Message, data: st.DataObject
) -> None:
    encoded = bytearray(codec.encode(message))
    for _ in range(data.draw(st.integers(1, 4))):
        encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    _decode_or_refuse(bytes(encoded))


@pytest.mark.parametrize(
    "value",
    [
        {"type": "ping", "id": "1"},
        {"type": "ping", "id": True},
        {"type": "ping", "id": 1.5},
        {"type": "ping", "id": 2**63},
        {"type": "ping", "id": 1, "rtt_s": "0"},
        {"type": "hello", "protocol": b"1.0", "version": ""},
        {"type": "hello", "protocol": "1.0", "version": "", "features": "abc"},
        {"type": "hello", "protocol": "1.0", "version": "", "features": [1]},
        {"type": "set_keys", "number": 1, "keys": "abc"},
        {"type": "set_keys", "number": 1, "keys": [1]},
        {"type": "set_keys", "number": 1, "keys": [{"id": "key_1", "user": "usr_1"}]},
        {"type": 7},
        {"type": None},
        {},
        [],
        None,
        "ping",
    ],
)
def test_a_value_of_the_wrong_kind_is_malformed(value: object) -> None:
    with pytest.raises(ProtocolError) as caught:
        codec.decode(cbor2.dumps(value))
    assert caught.value.code == "message_malformed"


# What a decoder must not believe: counts and lengths far beyond the bytes that are there,
# indefinite containers, deep nesting, and tags whose decoding costs more than their bytes.
_BOMBS = {
    "array of 2**60": b"\x9b\x10\x00\x00\x00\x00\x00\x00\x00",
    "array of 2**32": b"\x9b\x00\x00\x00\x01\x00\x00\x00\x00",
    "map of 2**62": b"\xbb\x40\x00\x00\x00\x00\x00\x00\x00",
    "bytes of 2**40": b"\x5b\x00\x00\x01\x00\x00\x00\x00\x00",
    "text of 2**62": b"\x7b\x40\x00\x00\x00\x00\x00\x00\x00",
    "depth 100,000": b"\x81" * 100_000,
    "indefinite depth": b"\x9f" * 100_000,
    "endless text": b"\x7f" + b"\x61a" * 1000,
    "huge decimal": cbor2.dumps({"type": "ping", "id": cbor2.CBORTag(4, [2**62, 9])}),
    "huge bigfloat": cbor2.dumps({"type": "ping", "id": cbor2.CBORTag(5, [2**62, 9])}),
    "rational over 0": cbor2.dumps({"type": "ping", "id": cbor2.CBORTag(30, [1, 0])}),
    "regular expression": cbor2.dumps({"type": "ping", "id": cbor2.CBORTag(35, "(" * 5000)}),
    "shared cycle": b"\xd8\x1c\x81\xd8\x1d\x00",
}


@pytest.mark.parametrize("name", _BOMBS)
def test_no_allocation_bomb_goes_off(name: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ProtocolError):
            codec.decode(_BOMBS[name])
        assert tracemalloc.get_traced_memory()[1] < 8 * 1024 * 1024
    finally:
        tracemalloc.stop()


def test_a_message_over_the_limit_is_refused_before_it_is_read() -> None:
    with pytest.raises(ProtocolError) as caught:
        codec.decode(b"\x00" * (limits.CONTROL_MESSAGE_MAX_BYTES + 1))
    assert caught.value.code == "message_too_large"


def test_the_largest_message_is_read() -> None:
    full = ["x" * limits.CONTROL_TEXT_MAX] * 255
    rest = limits.CONTROL_MESSAGE_MAX_BYTES - len(
        codec.encode(messages.GrantsHeld(grants=(*full, "")))
    )
    message = messages.GrantsHeld(grants=(*full, "x" * (rest - 2)))
    assert limits.CONTROL_MESSAGE_MAX_BYTES - len(codec.encode(message)) in range(2)
    assert codec.decode(codec.encode(message)) == message


def test_nesting_beyond_the_limit_is_not_cbor_to_us() -> None:
    def nested(levels: int) -> bytes:
        return (
            cbor2.dumps({"type": "pong", "id": 1})[:-1] + b"\x01"
            if not levels
            else (b"\xa3\x64type\x64pong\x62id\x01\x61x" + b"\x81" * levels + b"\x00")
        )

    assert codec.decode(nested(limits.CONTROL_MAX_DEPTH - 2)) == messages.Pong(id=1)
    with pytest.raises(ProtocolError) as caught:
        codec.decode(nested(limits.CONTROL_MAX_DEPTH + 1))
    assert caught.value.code == "message_not_cbor"


def test_the_table_has_every_message_class_under_its_own_tag() -> None:
    classes = {
        value
        for _, value in inspect.getmembers(messages, inspect.isclass)
        if issubclass(value, messages.Message)
    } - {messages.Message, messages.UnknownMessage}
    assert set(messages.ALL.values()) == classes
    assert {kind.type: kind for kind in classes} == messages.ALL


def test_every_field_has_a_type_that_the_codec_can_check() -> None:
    for kind in messages.ALL.values():
        assert {str(f.type) for f in dataclasses.fields(kind)} <= set(_VALUES)


def test_every_tag_is_snake_case() -> None:
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", tag) for tag in messages.ALL)


def test_messages_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        messages.Pong(id=1).id = 2  # type: ignore[misc]  # what the test is about


def test_the_protocol_page_names_every_close_code() -> None:
    from kled_wire.control.link import CloseCode  # noqa: PLC0415 - only this test needs it

    page = Path(__file__).parents[3].joinpath("docs/protocol.md").read_text(encoding="utf-8")
    assert all(str(int(code)) in page for code in CloseCode if code != CloseCode.NORMAL)


def _decode_or_refuse(data: bytes) -> None:
    try:
        message = codec.decode(data)
    except ProtocolError:
        return
    assert isinstance(message, messages.Message)


def test_a_string_and_a_list_have_an_end() -> None:
    hello = {"type": "hello", "protocol": "1.0", "version": "1"}
    long = "x" * (limits.CONTROL_TEXT_MAX + 1)
    many = ["x"] * (limits.CONTROL_TEXTS_MAX + 1)
    for fields in ({"hostname": long}, {"features": many}, {"features": [long]}):
        with pytest.raises(ProtocolError) as refused:
            codec.decode(cbor2.dumps({**hello, **fields}))
        assert refused.value.code == "message_malformed"
