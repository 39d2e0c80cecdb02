"""Pictures: what a terminal shows that is given the picture is what the output showed."""

from __future__ import annotations

import pyte
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from wcwidth import wcwidth

from kled_agent.sessions.holder.plan import ALTERNATE_BYTES, MAIN_BYTES, plan_redraw
from kled_agent.sessions.holder.redraw import draw
from kled_wire.screenmodes import ScreenModes
from tests.kit.examples import examples

SIZE = (40, 8)
PIECES = [
    b"some text", b"\r\n", "größer 漢字 ✓".encode(), b"\x1b[31;1mred\x1b[0m",
    b"\x1b[38;5;200mpink", b"\x1b[48;2;1;2;3mrgb", b"\x1b[H", b"\x1b[3;5H", b"\x1b[2J", b"\x1b[K",
    b"\x1b[2;6r", b"\x1b[r", b"\x1b[L", b"\x1b[2M", b"\x1b[3P", b"\x1b[2@", b"\x1bM", b"\n\n\n",
    b"\t", b"\b", b"\x1b[7m", b"\x1b[?7l", b"x" * 45, b"\x1b7", b"\x1b8", b"\xff\xfe",
]  # fmt: skip


def picture(data: bytes, shown: tuple[int, int] = SIZE) -> tuple[bytes, ScreenModes]:
    modes = ScreenModes()
    modes.feed(data)
    plan = plan_redraw(modes, 0, len(data))
    main, alternate = ([data[a:b] for a, b in r] for r in (plan.main, plan.alternate))
    return draw((main, alternate), modes, SIZE, shown), modes


def terminal(data: bytes, size: tuple[int, int] = SIZE) -> pyte.Screen:
    screen = pyte.Screen(*size)
    pyte.ByteStream(screen).feed(data)
    return screen


def wide(data: str) -> bool:
    return bool(data) and wcwidth(data[0]) == 2


@given(st.lists(st.sampled_from(PIECES), max_size=25).map(b"".join))
@settings(max_examples=examples(150), deadline=None)
def test_the_picture_shows_what_the_output_showed(data: bytes) -> None:
    seen, shown = terminal(data), terminal(picture(data)[0])
    for y in range(SIZE[1]):
        for x in range(SIZE[0]):
            # Half a wide character, also in the last column, is drawn differently by each terminal.
            assume(bool(seen.buffer[y][x + 1].data) is not wide(seen.buffer[y][x].data))
    assert shown.display == seen.display
    assert (shown.cursor.y, shown.cursor.x) == (seen.cursor.y, min(seen.cursor.x, SIZE[0] - 1))
    for y in range(SIZE[1]):
        for x in range(SIZE[0]):
            assert shown.buffer[y][x] == seen.buffer[y][x], (x, y)


@given(st.binary(max_size=400))
@settings(max_examples=examples(150), deadline=None)
def test_any_output_makes_a_picture(data: bytes) -> None:
    picture(data)


@pytest.mark.parametrize(
    "junk",
    [
        b"\x1b[>4;2m", b"\x1bP+q544e\x1b\\", b"\x1b[?u", b"\x1b[4:3m\x1b[0m", b"\x1b_payload\x1b\\",
        b"\x1b[!p", b"\x1b[18t", b"\x1b[2 q", b"\x1b[c", b"\x1b]52;c;YQ==\x07", b"\x1b[=0;1u",
        b"\x1b]8;;http://x\x1b\\",
    ],
)  # fmt: skip
def test_what_the_emulator_does_not_know_is_not_drawn(junk: bytes) -> None:
    shown = terminal(picture(b"before " + junk + b"after")[0])
    assert shown.display[0].strip() == "before after"
    assert not shown.buffer[0][8].underscore


def test_questions_to_the_terminal_are_not_asked_again() -> None:
    for question in (b"\x1b[6n", b"\x1b[c", b"\x1b]11;?\x07", b"\x1bP+q544e\x1b\\"):
        assert question not in picture(b"x" + question)[0]


def test_repeats_and_scrolls_are_drawn() -> None:
    assert terminal(picture(b"a\x1b[3b")[0]).display[0].strip() == "aaaa"
    assert terminal(picture(b"1\r\n2\r\n3\x1b[2S")[0]).display[0].strip() == "3"
    assert terminal(picture(b"1\r\n2\x1b[T")[0]).display[1].strip() == "1"


def test_line_drawing_survives() -> None:
    assert terminal(picture(b"\x1b(0lqqk\x1b(B")[0]).display[0].strip() == "┌──┐"


def test_both_screens_are_drawn_and_the_modes_restored() -> None:
    data = b"$ vim\r\n\x1b[?1049h\x1b[?1000h\x1b[2J\x1b[Htext"
    out, _ = picture(data)
    before, after = out.split(b"\x1b[?1049h")
    assert terminal(before).display[0].strip() == "$ vim"
    assert terminal(after).display[0].strip() == "text"
    assert out.endswith(b"\x1b[?1000h")


def test_scrollback_comes_before_the_screen() -> None:
    out, _ = picture(b"".join(b"line %d\r\n" % n for n in range(30)))
    assert out.index(b"line 3\x1b") < out.index(b"line 29\x1b")


def test_another_size_gets_a_picture_of_that_size() -> None:
    out, _ = picture(b"one\r\ntwo\r\nthree", (20, 5))
    assert [line.strip() for line in terminal(out, (20, 5)).display] == [
        "one",
        "two",
        "three",
        "",
        "",
    ]


def test_the_plan_takes_the_screen_behind_and_only_the_last_of_much() -> None:
    modes = ScreenModes()
    shell = b"s" * 1000
    modes.feed(shell + b"\x1b[?1049h" + b"v" * (2 * ALTERNATE_BYTES))
    plan = plan_redraw(modes, 0, modes.position)
    assert plan.main == ((0, 1000),)
    assert plan.alternate == ((modes.position - ALTERNATE_BYTES, modes.position),)
    assert not plan.whole
    modes.feed(b"\x1b[2Jnew")
    plan = plan_redraw(modes, 0, modes.position)
    assert plan.alternate == ((modes.position - 7, modes.position),)
    assert plan.whole
    modes.feed(b"\x1b[?1049l" + b"t" * (2 * MAIN_BYTES))
    plan = plan_redraw(modes, 0, modes.position)
    assert plan.alternate == ()
    assert sum(b - a for a, b in plan.main) == MAIN_BYTES


def test_the_plan_keeps_to_what_is_kept() -> None:
    modes = ScreenModes()
    modes.feed(b"s" * 100 + b"\x1b[?1049h" + b"v" * 100)
    plan = plan_redraw(modes, 150, modes.position)
    assert (plan.main, plan.alternate, plan.whole) == ((), ((150, 208),), False)
