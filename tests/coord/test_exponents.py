from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kled_coord.exponents import has_huge_number, is_huge


@given(st.integers(0, 10**6), st.sampled_from("eE"), st.sampled_from(["", "+", "-"]), st.text("0"))
def test_the_exponent_alone_makes_a_number_huge(
    exponent: int, letter: str, sign: str, zeros: str
) -> None:
    number = f"1.5{letter}{sign}{zeros}{exponent}"
    assert is_huge(number) == has_huge_number(f"[1, {number}]") == (exponent >= 10**4)
    assert not is_huge(str(exponent))


@pytest.mark.parametrize(
    ("text", "is_found"),
    [("[1, 2e5, 3.e99999]", True), ("1e5e99999", True), ("e99999", False), ("x1e 99999", False)],
)
def test_a_huge_number_is_found_in_a_list(text: str, is_found: bool) -> None:
    assert has_huge_number(text) == is_found
