"""What is hidden of a text, and what is left."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from kled_coord.masking import Mask

SECRETS = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Z"]), min_size=3, max_size=12
).filter(lambda word: word not in {"true", "false", "null"})


@given(st.lists(SECRETS, min_size=1, max_size=4), st.text(max_size=20), st.text(max_size=20))
def test_no_value_is_left(secrets: list[str], before: str, after: str) -> None:
    mask = Mask(secrets)
    for secret in secrets:
        hidden = mask.hide(f"{before}{secret}{after}{json.dumps(secret)}")
        assert secret not in hidden.replace("***", "\0")


def test_a_value_of_several_lines_is_hidden_line_by_line() -> None:
    mask = Mask(["-----BEGIN\nMIIabc\n  MIIdef\n"])
    assert mask.hide("it is MIIabc, MIIdef") == "it is ***, ***"
    assert mask.hide('"-----BEGIN\\nMIIabc\\n  MIIdef\\n"') == '"***\\n"'


def test_the_strings_of_an_expression_are_hidden() -> None:
    mask = Mask(['{ user = "u", password = "hunter2" }'])
    assert mask.hide("bad password hunter2 of u") == "bad password *** of u"


def test_the_strings_of_an_expression_are_hidden_as_what_they_stand_for() -> None:
    mask = Mask(['"pa\\"ss\\u00e9\\\\ $${word}"', '["first line\\nsecond line"]'])
    assert mask.hide('it is pa"ssé\\ ${word}') == "it is ***"
    assert mask.hide("first line, then second line") == "***, then ***"


def test_what_is_too_short_or_absent_hides_nothing() -> None:
    assert Mask(["", "ab"]).hide("about") == "about"
    assert Mask(["true", '["false"]', "null"]).hide("true or false or null") == (
        "true or false or null"
    )
    assert Mask(()).hide("about") == "about"
    assert Mask(["secret", "secret-longer"]).hide("secret-longer") == "***"


def test_nothing_is_left_within_a_value_of_json_either() -> None:
    mask = Mask(["hunter2", "4711", "value"])
    found = {"a": ["hunter2", {"my value": 4711}], "b": 12, "c": None, "d": True, "e": 0.5}
    assert mask.hide_within(found) == {
        "a": ["***", {"my ***": "***"}], "b": 12, "c": None, "d": True, "e": 0.5
    }  # fmt: skip


@given(
    st.lists(
        st.sampled_from([b"secret", b"sec", b"t-pot", b"s", b"e", b"\xff", b"x\n", b"teapot"])
    ),
    st.lists(st.integers(0, 9), min_size=1),
)
def test_pieces_of_any_size_hide_what_the_whole_hides(words: list[bytes], cuts: list[int]) -> None:
    mask, data, at, shown = Mask(["secret", "secretes", "teapot", "t-pot"]), b"".join(words), 0, b""
    step = 0
    while at < len(data):
        # As an agent does: what was not taken comes again, with more.
        piece = data[at : at + 8 + cuts[step % len(cuts)]]
        out, taken = mask.hide_begun(piece, final=at + len(piece) == len(data))
        shown, at, step = shown + out, at + taken, step + 1
    assert shown == mask.hide_begun(data, final=True)[0]
    assert b"secret" not in shown
    assert b"teapot" not in shown


def test_what_only_looks_like_a_beginning_is_not_held_back() -> None:
    assert Mask(["secret"]).hide_begun(b"prompt$ ", final=False) == (b"prompt$ ", 8)
    assert Mask(["secret"]).hide_begun(b"prompts", final=False) == (b"prompt", 6)
    assert Mask(()).hide_begun(b"\xff", final=False) == (b"\xff", 1)
