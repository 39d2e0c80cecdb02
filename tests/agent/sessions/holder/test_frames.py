"""Frames of a holder's socket: what is written is read, however it is cut; rubbish is refused."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kled_agent.sessions.holder import frames
from kled_agent.sessions.holder.frames import Decoder, Frame, FrameError, encode

numbers = st.integers(0, 1 << 40)
small = st.integers(0, 70_000)
sizes = {"columns": small, "rows": small, "width": small, "height": small}
data = st.binary(max_size=300)
FRAMES: st.SearchStrategy[Frame] = st.one_of(
    st.builds(
        frames.Attach, read_only=st.booleans(), after=st.none() | numbers, **sizes
    ),
    st.builds(frames.Input, data),
    st.builds(frames.ScreenOutput, data),
    st.builds(frames.LogData, data),
    st.builds(frames.Resize, **sizes),
    st.builds(frames.SendSignal, name=st.text(max_size=9)),
    st.builds(frames.Rename, name=st.text(max_size=40)),
    st.builds(frames.ReadLog, size=numbers),
    st.builds(frames.Attached, offset=numbers),
    st.builds(
        frames.Ended, code=st.none() | small, signal=st.none() | st.text(max_size=5),
        reason=st.text(max_size=50),
    ),
    st.builds(frames.Refused, code=st.text(max_size=9), message=st.text(max_size=90)),
    st.sampled_from([frames.Kill(), frames.Stat(), frames.Done()]),
)  # fmt: skip


def decode(data: bytes, cuts: list[int]) -> list[Frame]:
    decoder = Decoder()
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    pieces = [data[a:b] for a, b in itertools.pairwise(edges)]
    return [frame for piece in pieces for frame in decoder.feed(piece)]


@given(st.lists(FRAMES, max_size=6), st.lists(st.integers(0, 2000), max_size=20))
def test_frames_are_read_as_written_however_they_are_cut(
    sent: list[Frame], cuts: list[int]
) -> None:
    assert decode(b"".join(map(encode, sent)), cuts) == sent


@given(st.binary(max_size=4000))
def test_rubbish_is_frames_or_one_error_and_holds_no_more_than_a_frame(data: bytes) -> None:
    decoder = Decoder()
    try:
        list(decoder.feed(data))
    except FrameError:
        return
    assert len(decoder._held) <= frames.FRAME_BYTES + frames.HEAD_BYTES


@pytest.mark.parametrize(
    "payload",
    [b"", b"[]", b"{", b'{"columns": "80", "rows": 24}', b'{"columns": 80}', b"[" * 5000,
     b'{"columns": true, "rows": 24}', b'{"columns": null, "rows": 24}'],
)  # fmt: skip
def test_a_payload_that_is_not_the_message_is_refused(payload: bytes) -> None:
    with pytest.raises(FrameError):
        list(Decoder().feed(b"\x01" + len(payload).to_bytes(4, "big") + payload))


def test_a_size_over_the_limit_is_refused_before_its_bytes_come() -> None:
    with pytest.raises(FrameError, match="allowed"):
        list(Decoder().feed(b"\x02\x7f\xff\xff\xff"))
    with pytest.raises(FrameError, match="allowed"):
        encode(frames.Input(bytes(frames.FRAME_BYTES + 1)))


def test_later_versions_are_understood_as_far_as_they_are_known() -> None:
    unknown = b"\x2a\0\0\0\x03abc"
    newer = b'{"columns": 80, "rows": 24, "colour": "red"}'
    attach = b"\x01" + len(newer).to_bytes(4, "big") + newer
    assert decode(unknown + attach, []) == [frames.Attach(columns=80, rows=24)]


def test_large_data_goes_in_pieces() -> None:
    blob = bytes(range(256)) * 600
    pieces = decode(frames.encode_pieces(frames.ScreenOutput, blob), [])
    assert b"".join(f.data for f in pieces if isinstance(f, frames.ScreenOutput)) == blob
    assert len(pieces) == 3
