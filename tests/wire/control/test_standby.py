"""The frame on which an idle connection becomes a stream."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kled_wire.control import codec, messages
from kled_wire.control.standby import DIAL_MAX_BYTES, KIND, decode_dial, encode_dial
from kled_wire.errors import ProtocolError

DIAL = messages.Dial(ticket="", kind="tcp", host="localhost", port=80, resume=True, user="usr_1")


@given(st.binary(max_size=40))
def test_the_dial_comes_out_and_what_follows_is_kept(rest: bytes) -> None:
    whole = encode_dial(DIAL)
    assert decode_dial(whole + rest) == (DIAL, rest)
    for end in range(len(whole)):
        assert decode_dial(whole[:end]) is None


@given(st.binary(max_size=200))
def test_garbage_is_a_protocol_error(data: bytes) -> None:
    try:
        decode_dial(data)
    except ProtocolError:
        return


@pytest.mark.parametrize(
    "frame",
    [
        (DIAL_MAX_BYTES + 1).to_bytes(4, "big"),
        encode_dial(messages.Dial(ticket="", kind=KIND)),
        len(codec.encode(messages.Pong(id=1))).to_bytes(4, "big")
        + codec.encode(messages.Pong(id=1)),
    ],
)
def test_what_is_no_dial_is_refused(frame: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode_dial(frame)
