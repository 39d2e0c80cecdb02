"""Modes are followed however the output is cut, restored as they were, and left behind clean."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kled_wire.screenmodes import UNFINISHED_BYTES, ScreenModes

PIECES = [
    b"text", b"\r\n", b"\x1b[?1049h", b"\x1b[?1049l", b"\x1b[?25l", b"\x1b[?25h",
    b"\x1b[?1000;1006h", b"\x1b[?2004h", b"\x1b[?2004l", b"\x1b=", b"\x1b>", b"\x1bc", b"\x1b[2J",
    b"\x1b[31m", b"\x1b[4 q", b"\x1b[>4;2m", b"\x1b[>1u", b"\x1b[<u", b"\x1b]2;title\x07",
    b"\x1b]0;x\x1b\\", b"\x1b[!p", b"\x1bP$q\x1b\\",
    b"\x1b", b"\x1b[", b"\x1b[?", b"\xff", b"\x1b]2;half",
]  # fmt: skip


def follow(data: bytes, cuts: list[int]) -> ScreenModes:
    modes = ScreenModes()
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    for start, end in itertools.pairwise(edges):
        modes.feed(data[start:end])
    return modes


def state(modes: ScreenModes) -> tuple[object, ...]:
    return (
        modes.alternate, modes.position, list(modes.switches), modes.cleared_at,
        modes.restore(), modes.leave(),
    )  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), max_size=12).map(b"".join), st.lists(st.integers(0, 150)))
def test_cuts_change_nothing(data: bytes, cuts: list[int]) -> None:
    assert state(follow(data, cuts)) == state(follow(data, []))


@given(st.lists(st.sampled_from(PIECES[:22]), max_size=12).map(b"".join))
def test_a_restored_terminal_is_in_the_same_modes_and_a_left_one_in_none(data: bytes) -> None:
    modes = follow(data, [])
    again = follow(modes.restore(), [])
    assert again.restore() == modes.restore()
    left = follow(data + modes.leave(), [])
    assert not left.alternate
    title = b"\x1b]2;"
    assert left.restore() == b"" or left.restore().startswith(title)


@given(st.binary(max_size=600))
def test_any_bytes_are_followed_without_holding_much(data: bytes) -> None:
    modes = follow(data, [])
    assert modes.position == len(data)
    assert len(modes._pending) <= UNFINISHED_BYTES


def test_an_endless_sequence_is_given_up() -> None:
    modes = ScreenModes()
    modes.feed(b"\x1b]2;" + bytes(65 for _ in range(1_000_000)))
    assert len(modes._pending) <= UNFINISHED_BYTES
    modes.feed(b"\x07\x1b[?25l")
    assert modes.restore().startswith(b"\x1b[?25l")


@pytest.mark.parametrize(
    ("data", "restored"),
    [
        (b"\x1b[?2004h", b"\x1b[?2004h"),
        (b"\x1b[?25l\x1b[?25h", b""),
        (b"\x1b[?1000;1006h\x1b=", b"\x1b[?1000h\x1b[?1006h\x1b="),
        (b"\x1b[?1000h\x1bc", b""),
        (b"\x1b[2 q", b"\x1b[2 q"),
        (b"\x1b[>1u\x1b[>5u\x1b[<u", b"\x1b[>1u"),
        (b"\x1b]2;vim\x07", b"\x1b]2;vim\x07"),
    ],
)
def test_restored(data: bytes, restored: bytes) -> None:
    assert follow(data, []).restore() == restored


def test_where_the_screens_were_switched_and_cleared() -> None:
    modes = follow(b"shell$ vim\r\n\x1b[?1049h\x1b[2Jtext\x1b[?1049lshell$ ", [])
    assert list(modes.switches) == [(12, True), (28, False)]
    modes = follow(b"ab\x1b[2Jcd\x1b[?1049hxx\x1b[2J", [])
    assert (modes.alternate, modes.cleared_at) == (True, 18)
