"""The wire format: greetings and frames in any pieces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kled_wire.errors import ProtocolError
from kled_wire.resume import frames
from kled_wire.resume.frames import (
    Challenge,
    Frame,
    FrameParser,
    Greeting,
    New,
    Proof,
    Refuse,
    Resume,
    decode_greeting,
    encode_greeting,
)

BARE = [frames.ACK, frames.FIN, frames.PING, frames.PONG]
OFFSET = st.integers(0, 2**64 - 1)
B16, B32 = st.binary(min_size=16, max_size=16), st.binary(min_size=32, max_size=32)
GREETING = st.one_of(
    st.builds(New, B16, B32),
    st.builds(Resume, B16, B32, OFFSET),
    st.builds(Challenge, B32, OFFSET, B32),
    st.builds(Proof, B32),
    st.builds(Refuse, st.from_regex(r"[a-z_]{1,30}", fullmatch=True), st.text(max_size=100)),
)


@given(GREETING, st.binary(max_size=20))
def test_every_greeting_survives_the_way_and_leaves_the_rest(
    greeting: Greeting, rest: bytes
) -> None:
    encoded = encode_greeting(greeting)
    assert decode_greeting(encoded + rest) == (greeting, len(encoded))


@given(GREETING)
def test_half_a_greeting_waits_for_more(greeting: Greeting) -> None:
    encoded = encode_greeting(greeting)
    for end in range(len(encoded)):
        assert decode_greeting(encoded[:end]) is None


@given(st.binary(max_size=200))
def test_garbage_is_refused_as_soon_as_it_differs(data: bytes) -> None:
    try:
        decode_greeting(data)
    except ProtocolError as error:
        assert error.code == "greeting_malformed"  # noqa: PT017 - or it waits for more


@given(
    st.lists(
        st.one_of(
            st.builds(Frame, st.just(frames.DATA), st.integers(0, 2**60), st.binary(max_size=50)),
            st.builds(Frame, st.sampled_from(BARE), OFFSET, st.just(b"")),
            st.builds(Frame, st.just(frames.RESET), st.just(0), st.binary(max_size=50)),
        )
    ),
    st.lists(st.integers(1, 40)),
)
def test_frames_come_out_the_same_however_they_are_cut(sent: list[Frame], cuts: list[int]) -> None:
    wire = b"".join(
        frames.encode_header(f.kind, f.value, len(f.payload)) + bytes(f.payload) for f in sent
    )
    parser, got, start = FrameParser(), [], 0
    for cut in [*cuts, len(wire)]:
        got += [Frame(k, v, bytes(p)) for k, v, p in parser.feed(wire[start : start + cut])]
        start += cut
    assert _joined(got) == _joined([f for f in sent if f.payload or f.kind != frames.DATA])


def _joined(found: list[Frame]) -> list[Frame]:
    """Parts of DATA that follow one another as one."""
    joined: list[Frame] = []
    for frame in found:
        last = joined[-1] if joined else None
        if (
            last is not None
            and frame.kind == last.kind == frames.DATA
            and last.value + len(last.payload) == frame.value
        ):
            joined[-1] = Frame(frame.kind, last.value, bytes(last.payload) + bytes(frame.payload))
        else:
            joined.append(frame)
    return joined


@pytest.mark.parametrize("kind", [0, 8, 255])
def test_an_unknown_frame_is_refused(kind: int) -> None:
    with pytest.raises(ProtocolError, match="frame type"):
        list(FrameParser().feed(frames.encode_header(kind, 0)))


def test_a_frame_over_its_size_is_refused_before_its_payload() -> None:
    head = frames.encode_header(frames.DATA, 0, frames.DATA_MAX + 1)
    with pytest.raises(ProtocolError):
        list(FrameParser().feed(head))
