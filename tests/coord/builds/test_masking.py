"""What is hidden of a text, and what is left."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from kled_coord.builds.masking import Mask

SECRETS = st.text(st.characters(exclude_categories=["Cs", "Cc", "Z"]), min_size=3, max_size=12)


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


def test_what_is_too_short_or_absent_hides_nothing() -> None:
    assert Mask(["", "ab"]).hide("about") == "about"
    assert Mask(()).hide("about") == "about"
    assert Mask(["secret", "secret-longer"]).hide("secret-longer") == "***"


def test_nothing_is_left_within_a_value_of_json_either() -> None:
    mask = Mask(["hunter2", "4711", "value"])
    found = {"a": ["hunter2", {"my value": 4711}], "b": 12, "c": None, "d": True, "e": 0.5}
    assert mask.hide_within(found) == {
        "a": ["***", {"my ***": "***"}], "b": 12, "c": None, "d": True, "e": 0.5
    }  # fmt: skip
