"""A list to choose from by keys."""

from __future__ import annotations

import string

from hypothesis import given
from hypothesis import strategies as st

from kled_client.terminal.menu import SHOWN_MAX, Menu, MenuLine, Pressed, split_keys

THREE = [MenuLine("Small", "for a start"), MenuLine("Large"), MenuLine("Huge")]


def pressed(menu: Menu, keys: bytes) -> tuple[Menu, Pressed]:
    last = Pressed.MOVED
    for key in split_keys(keys):
        menu, last = menu.press(key)
    return menu, last


def test_arrows_go_round_and_enter_chooses() -> None:
    assert pressed(Menu(entries=THREE), b"\x1b[B\x1b[B\x1b[B\x1bOB\r") == (
        Menu(entries=THREE, at=1),
        Pressed.CHOSEN,
    )
    assert pressed(Menu(entries=THREE), b"\x1b[A")[0].at == 2
    for key in (b"\x03", b"\x04"):
        assert pressed(Menu(entries=THREE), key)[1] is Pressed.LEFT


def test_several_are_marked_by_the_space_bar() -> None:
    menu = Menu(entries=THREE, several=True, marked=frozenset({0}))
    found, _ = pressed(menu, b" \x1b[B \x1b[B \x1b[A ")
    assert found.marked == {2}
    assert menu.lines(80) == ["> [x] Small - for a start", "  [ ] Large", "  [ ] Huge"]
    assert pressed(Menu(entries=THREE), b" ")[0].marked == frozenset()


@given(
    st.lists(st.text(string.ascii_letters, max_size=30), min_size=1, max_size=40),
    st.lists(st.sampled_from([b"\x1b[A", b"\x1b[B", b"x", b"\x1b[5~", b"\xff"])),
    st.integers(1, 60),
)
def test_the_cursor_is_always_on_a_line_that_fits(titles, keys, columns) -> None:
    menu, last = pressed(Menu(entries=[MenuLine(title) for title in titles]), b"".join(keys))
    assert last is Pressed.MOVED
    lines = menu.lines(columns)
    assert len(lines) <= SHOWN_MAX + 1
    assert all(len(line) <= max(1, columns - 1) for line in lines)
    assert [line[0] for line in lines].count(">") == 1
