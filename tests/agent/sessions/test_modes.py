"""Terminal modes of a client on a terminal of this system."""

from __future__ import annotations

import os
import pty
import termios

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kled_agent.sessions.modes import apply_modes
from kled_agent.sessions.terminal import set_modes

_ATTRIBUTES: list[object] = [0, 0, 0, 0, 13, 13, [b"\0"] * 32]


@given(st.dictionaries(st.integers(0, 255), st.integers(0, 2**32 - 1)))
def test_any_modes_apply_and_the_argument_is_not_changed(modes: dict[int, int]) -> None:
    before = [*_ATTRIBUTES[:6], list(_ATTRIBUTES[6])]  # type: ignore[call-overload]  # a list
    result = apply_modes(_ATTRIBUTES, modes)
    assert before == _ATTRIBUTES
    assert result[4:6] == [13, 13]
    assert apply_modes(result, modes) == result


@given(st.dictionaries(st.integers(0, 255), st.integers(0, 2**32 - 1)))
@example({92: 1})
def test_a_real_terminal_takes_any_modes(modes: dict[int, int]) -> None:
    ours, theirs = pty.openpty()
    try:
        set_modes(theirs, {**modes, 53: 0})
        assert not termios.tcgetattr(theirs)[3] & termios.ECHO
    finally:
        os.close(ours)
        os.close(theirs)


@pytest.mark.parametrize(
    ("opcode", "group", "flag"),
    [(36, 0, termios.ICRNL), (38, 0, termios.IXON), (50, 3, termios.ISIG), (51, 3, termios.ICANON),
     (53, 3, termios.ECHO), (70, 1, termios.OPOST), (72, 1, termios.ONLCR)],
)  # fmt: skip
def test_a_flag_is_set_and_cleared(opcode: int, group: int, flag: int) -> None:
    assert apply_modes(_ATTRIBUTES, {opcode: 1})[group] == flag
    full = [2**31 - 1] * 4 + _ATTRIBUTES[4:]
    assert apply_modes(full, {opcode: 0})[group] == (2**31 - 1) & ~flag


def test_a_character_is_set_and_255_means_none() -> None:
    characters = apply_modes(_ATTRIBUTES, {1: 3, 3: 255})[6]
    assert isinstance(characters, list)
    assert characters[termios.VINTR] == b"\x03"
    assert characters[termios.VERASE] == b"\0"
