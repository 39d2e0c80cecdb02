"""What is shown ahead: never where there is no echo, and never anything left behind."""

from __future__ import annotations

from typing import Any

import pyte
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kled_client.terminal.predict import START, Predictor
from tests.kit.examples import examples

COLUMNS, ROWS = 16, 5
PIECES = [
    "\r\n", "\n", "\r", "\b", "\t", "\x07", "$ ", "é", "世", "e\u0301", "\x1b[m", "\x1b[0m",
    "\x1b[31m", "\x1b[01;32m", "\x1b[44m", "\x1b[7m", "\x1b[27m", "\x1b[39;49m", "\x1b[38;5;0m",
    "\x1b[K", "\x1b[1K", "\x1b[2K", "\x1b[J", "\x1b[1J", "\x1b[2J", "\x1b[H",
    "\x1b[3;4H", "\x1b[A", "\x1b[B",
    "\x1b[C", "\x1b[3C", "\x1b[D", "\x1b[3D", "\x1b[G", "\x1b[5G", "\x1b[P", "\x1b[2@", "\x1b[2X",
    "\x1b[L",
    "\x1b[M", "\x1b[2;4r", "\x1b[r", "\x1b[?7l", "\x1b[?7h", "\x1b[?25l", "\x1b[?2004h",
    "\x1b[?6h",
    "\x1b[4h", "\x1b[4l", "\x1b7", "\x1b8", "\x1bM", "\x1bD", "\x1bE", "\x1b]0;t\x07", "\x1b(B",
    "\x1b(0",
    "\x0e", "\x0f", "x" * COLUMNS, "x" * (COLUMNS - 1), "one\r\ntwo\r\n", "\x1b[H\x1b[2J",
    "\r\x1b[0m\x1b[J$ ",
]  # fmt: skip
# Somebody types and sees the first letter echoed; the oldest letter is echoed; a control key;
# other text comes from the programs there.
events = st.one_of(
    st.sampled_from([("fluent", "abc"), ("fluent", "xxxxxx"), ("echo", ""), ("echo", "")]),
    st.sampled_from(["\x03", "\r", "a"]).map(lambda key: ("type", key)),
    st.sampled_from(PIECES).map(lambda text: ("print", text)),
)


class Full(pyte.Screen):
    """Pyte, which erases only cells that were written once, with all cells written."""

    def erase_in_display(self, how: int = 0, *args: Any, **kwargs: Any) -> None:
        for y in range(ROWS):
            for x in range(COLUMNS):
                self.buffer[y].setdefault(x, self.default_char)
        super().erase_in_display(how, *args, **kwargs)


class Two:
    """A terminal with the predictor before it, and one without."""

    def __init__(self) -> None:
        self.screens = [Full(COLUMNS, ROWS) for _ in range(2)]
        self.streams = [pyte.ByteStream(screen) for screen in self.screens]
        self.predictor = Predictor(COLUMNS)
        for stream in self.streams:
            stream.feed(START)
        self.output(b"\r\n")

    def typed(self, keys: str) -> None:
        self.predictor.typed(keys.encode())
        self.streams[0].feed(self.predictor.show())

    def output(self, data: bytes) -> None:
        self.streams[0].feed(self.predictor.output(data))
        self.streams[0].feed(self.predictor.show())
        self.streams[1].feed(data)

    def settle(self) -> None:
        self.streams[0].feed(self.predictor.disturbed())

    def line(self, screen: int = 0) -> str:
        shown = self.screens[screen]
        return shown.display[shown.cursor.y].rstrip()

    def states(self) -> list[Any]:
        return [
            (
                [[screen.buffer[y][x] for x in range(COLUMNS)] for y in range(ROWS)],
                (screen.cursor.x, screen.cursor.y, screen.cursor.attrs),
            )
            for screen in self.screens
        ]


@settings(max_examples=examples(1000), deadline=None)
@given(st.lists(events, max_size=30), st.integers(1, 9))
def test_nothing_is_left_behind(happenings: list[tuple[str, str]], cut: int) -> None:
    two, waiting, out = Two(), "", b""
    for kind, text in happenings:
        if kind == "fluent":
            two.output(out + waiting.encode())
            two.typed(text[:1])
            two.output(text[:1].encode())
            two.typed(text[1:])
            waiting, out = text[1:], b""
        elif kind == "type":
            two.typed(text)
            waiting += text if text.isalpha() else ""
        else:
            out += (waiting[:1] if kind == "echo" else text).encode()
            waiting = waiting[1:] if kind == "echo" else waiting
            while len(out) >= cut:
                two.output(out[:cut])
                out = out[cut:]
    two.output(out)
    two.settle()
    ours, theirs = two.states()
    assert ours == theirs


def test_keys_are_shown_after_the_first_echo() -> None:
    two = Two()
    two.output(b"$ ")
    two.typed("l")
    assert two.line() == "$"
    two.output(b"l")
    two.typed("s")
    two.typed(" x")
    assert (two.line(), two.line(1)) == ("$ ls x", "$ l")
    cells = two.screens[0].buffer[two.screens[0].cursor.y]
    assert [cells[x].underscore for x in range(2, 6)] == [False, True, True, True]
    two.output(b"s")
    assert (two.line(), cells[3].underscore) == ("$ ls x", False)
    two.output(b"\r\nother")
    assert two.line() == "other"


def test_a_password_is_not_shown() -> None:
    two = Two()
    two.output(b"$ ")
    for key in "su":
        two.typed(key)
        two.output(key.encode())
    two.typed("\r")
    two.typed("early")
    two.output(b"\r\nPassword: ")
    for key in "secret":
        two.typed(key)
    assert two.line() == "Password:"


def test_a_wrong_guess_ends_the_showing_until_the_next_echo() -> None:
    two = Two()
    two.output(b"$ ")
    two.typed("a")
    two.output(b"a")
    two.typed("bc")
    assert two.line() == "$ abc"
    two.output(b"*")
    assert two.line() == "$ a*"
    two.typed("d")
    assert two.line() == "$ a*"
    two.output(b"d")
    two.typed("e")
    assert two.line() == "$ a*de"


@pytest.mark.parametrize(
    "before",
    [
        b"\x1b[?1049h$ ", b"\x1b[31m$ ", b"\x1b[A$ ", b"$ abc\b\b\b", b"\x1b[?7l$ ", b"\x1b[",
        b"\xe4", b"x" * (COLUMNS - 2),
    ],
)  # fmt: skip
def test_there_is_no_showing_where_the_screen_is_not_known(before: bytes) -> None:
    predictor = Predictor(COLUMNS)
    predictor.output(b"\r\n" + before)
    predictor.typed(b"a")
    predictor.output(b"a")
    predictor.typed(b"b")
    assert predictor.show() == b""


@pytest.mark.parametrize(
    "before",
    [
        b"\x1b[?1049h\x1b[22;0;0t\x1b[H\x1b[2J~\x1b[?1049l\x1b[23;0;0t", b"a\tb\r\n",
        "世\r\n".encode(), b"\x1b[A\x1b[H\x1b[2J", b"\x1b[01;31mred\x1b[0m\r\n",
        b"\x1b]0;title\x07", b"\x1b[A\r\x1b[J", b"\x1b[?2004h",
    ],
)  # fmt: skip
def test_there_is_again_after_what_shells_and_programs_do(before: bytes) -> None:
    predictor = Predictor(COLUMNS)
    predictor.output(b"\r\n" + before + b"$ ")
    predictor.typed(b"a")
    predictor.output(b"a")
    predictor.typed(b"b")
    assert predictor.show() == b"\x1b[4mb\x1b[24m"


def test_a_new_size_is_a_new_beginning() -> None:
    two = Two()
    two.output(b"$ ")
    two.typed("a")
    two.output(b"a")
    two.typed("b")
    two.streams[0].feed(two.predictor.resized(COLUMNS))
    assert two.states()[0] == two.states()[1]
    two.output(b"\r\x1b[J$ a")
    two.typed("b")
    two.output(b"b")
    two.typed("c")
    assert two.line() == "$ abc"
