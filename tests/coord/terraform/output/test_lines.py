"""Lines out of pieces."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kled_coord.terraform.output.lines import LineSplitter


@given(st.lists(st.binary(max_size=20).map(lambda b: b.replace(b"b", b"\n"))))
def test_however_it_is_cut_the_lines_are_the_same(pieces: list[bytes]) -> None:
    splitter = LineSplitter()
    lines = [line for piece in pieces for line in splitter.feed(piece)] + splitter.finish()
    *expected, rest = b"".join(pieces).split(b"\n")
    assert lines == expected + ([rest] if rest else [])


def test_the_end_of_a_line_that_is_too_long_is_dropped() -> None:
    splitter = LineSplitter(max_bytes=4)
    assert splitter.feed(b"abc") == []
    assert splitter.feed(b"def") == []
    assert splitter.feed(b"ghi\nshort\nab") == [b"abcd", b"shor"]
    assert splitter.finish() == [b"ab"]
