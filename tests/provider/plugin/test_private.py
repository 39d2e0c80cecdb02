"""What is kept beside a state, and whose a name is."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from kled_provider.plugin.private import Names, Private, decode_private


@settings(deadline=None)
@given(st.text(max_size=20), st.text(max_size=20))
def test_what_is_kept_comes_back(generation: str, claim: str) -> None:
    private = Private(generation=generation, claim=claim)
    assert decode_private(private.encode()) == private


@settings(deadline=None)
@given(st.binary(max_size=50) | st.sampled_from([b"[]", b"1", b"{}", b'{"generation": 1}']))
def test_anything_else_is_as_nothing(kept: bytes) -> None:
    assert decode_private(kept) == Private()


def test_a_name_is_the_first_ones_and_a_second_call_for_it_is_told_by_its_claim() -> None:
    names = Names()
    assert names.take("t", "a", claim="", new_claim="1") == "1"
    assert names.take("t", "a", claim="1", new_claim="2") == "1"
    assert names.take("t", "a", claim="", new_claim="3") is None
    assert names.take("t", "a", claim="of an earlier walk", new_claim="4") is None
    assert names.take("other", "a", claim="", new_claim="5") == "5"
    assert names.take("t", "b", claim="1", new_claim="6") == "6"
