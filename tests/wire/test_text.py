"""Other people's strings, shown."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kled_wire.text import printable, printable_json


@pytest.mark.parametrize(
    "bad",
    [
        "\x1b",
        "\x1b]0;title\x07",
        "\x9b2J",
        "\x90",
        "\x7f",
        "\0",
        "\r",
        "\n",
        "\u202e",
        "\u2066",
        "\u2028",
    ],
)
def test_what_acts_on_a_terminal_is_replaced(bad: str) -> None:
    shown = printable(f"a{bad}b")
    assert shown.isprintable()
    assert (shown[0], shown[-1]) == ("a", "b")


def test_colours_are_dropped_and_words_stay() -> None:
    assert printable("\x1b[31mrot\x1b[0m") == "rot"
    assert printable("Zürich 東京 😀") == "Zürich 東京 😀"


@given(st.text())
def test_nothing_else_gets_through_but_what_is_kept(text: str) -> None:
    assert printable(text).isprintable()
    assert all(c.isprintable() or c in "\n\t" for c in printable(text, keep="\n\t"))


@given(st.recursive(st.none() | st.text() | st.integers(), st.lists, max_leaves=5))
def test_json_is_exact_and_acts_on_no_terminal(value: Any) -> None:
    for indent in (None, 2):
        shown = printable_json({"a": value}, indent=indent)
        assert json.loads(shown) == {"a": value}
        assert shown.replace("\n", "").isprintable()
    assert printable_json("Zürich") == '"Zürich"'
