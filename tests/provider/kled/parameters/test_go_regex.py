"""Expressions that authors wrote for Go's engine."""

from __future__ import annotations

import contextlib
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kled_provider.kled.parameters.go_regex import python_pattern


@pytest.mark.parametrize(
    ("pattern", "fits", "odd"),
    [
        (r"^[a-z]+$", "abc", "abc\n"),
        (r"(?m)^[a-z]+$", "a\nb", "A\nB"),
        (r"^a\\z\z", r"a\z", r"az"),
        (r"^[[:alpha:]_]+[[:digit:]]$", "a_1", "a_"),
        (r"^[:alpha:]$", ":", "b"),
        (r"^\w\d$", "a1", "é١"),
        (r"(?i)^ab$", "AB", "b"),
        (r"^\p{L}+[\p{Nd}.]\pL$", "é٣ß", "1.a"),
        (r"^[^\p{Lu}]\P{L}[\P{L}]$", "a1.", "A1."),
        (r"^\Qa.b\E+\x{e9}$", "a.bbé", "axbé"),
        (r"^(?<name>a)(?P<other>b)$", "ab", "a"),
        (r"^[]a]+[^]b]$", "]ax", "]]]"),
        (r"^[[a&&b]$", "[", "c"),
        (r"a$|^[$]$", "$", "a\n"),
        (r"^[+--]$", ",", "."),
        (r"^[--/]$", ".", "+"),
    ],
)
def test_it_matches_what_go_does(pattern: str, fits: str, odd: str) -> None:
    compiled = re.compile(python_pattern(pattern))
    assert compiled.search(fits)
    assert not compiled.search(odd)


@pytest.mark.parametrize("pattern", ["(", r"\p{Nonsense}", "a**", "[b-a]", r"\x{110000}["])
def test_what_is_wrong_with_one_is_said(pattern: str) -> None:
    with pytest.raises(re.error):
        re.compile(python_pattern(pattern))


@example("[1--")
@given(st.text(alphabet=r"ab1é[]^$\\QEpL{}(?<>:im)|&-.", max_size=12))
def test_garbage_is_at_most_an_error(pattern: str) -> None:
    with contextlib.suppress(re.error):
        re.compile(python_pattern(pattern))
