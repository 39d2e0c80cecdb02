"""Whose address it is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kled_coord.addresses import holder_of


@pytest.mark.parametrize(
    ("address", "holder"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("/run/some.sock", "/run/some.sock"),
    ],
)
def test_an_ipv6_address_is_counted_by_its_network(address: str, holder: str) -> None:
    assert holder_of(address) == holder


@given(st.text(max_size=200))
def test_any_text_has_a_bounded_key(text: str) -> None:
    assert len(holder_of(text)) <= 64
