"""What an agent may offer, and what of it a client dials."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kled_wire.errors import ProtocolError
from kled_wire.resume.direct.offer import (
    CANDIDATES_MAX,
    DIALED_MAX,
    NOWHERE,
    PORT_MIN,
    Candidate,
    Offer,
    decode_offer,
    dialable,
    encode_offer,
    is_private,
)
from kled_wire.resume.frames import OFFER_MAX

CANDIDATE = st.builds(
    Candidate, st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(str), st.integers(1, 65535)
)
PLACE = st.text("0123456789abcdef", min_size=1, max_size=16)
LAN = Candidate("10.0.0.5", 40022)
HERE = Candidate("127.0.0.1", 40022)


@given(st.lists(CANDIDATE, min_size=1, max_size=CANDIDATES_MAX), PLACE)
def test_an_offer_survives_the_way(candidates: list[Candidate], place: str) -> None:
    offer = Offer(tuple(candidates), place)
    encoded = encode_offer(offer)
    assert len(encoded) <= OFFER_MAX
    assert decode_offer(encoded) == offer


@given(st.lists(CANDIDATE, min_size=CANDIDATES_MAX + 1, max_size=40), st.text("a", max_size=1000))
def test_what_is_too_much_is_left_out(candidates: list[Candidate], place: str) -> None:
    encoded = encode_offer(Offer(tuple(candidates), place or NOWHERE))
    assert len(encoded) <= OFFER_MAX
    if len(place) < 100:
        assert decode_offer(encoded).candidates == tuple(candidates[:CANDIDATES_MAX])


def test_a_reason_survives_the_way() -> None:
    offer = Offer(reason="direct_listen is off")
    assert decode_offer(encode_offer(offer)) == offer


@given(st.one_of(st.binary(max_size=OFFER_MAX + 10), st.text().map(lambda t: f"at {t}".encode())))
def test_garbage_is_refused_or_holds_its_limits(data: bytes) -> None:
    try:
        offer = decode_offer(data)
    except ProtocolError as error:
        assert error.code == "offer_malformed"  # noqa: PT017 - or it could be read
        return
    assert len(offer.candidates) <= CANDIDATES_MAX
    assert all(0 < c.port < 65536 and ipaddress.ip_address(c.host) for c in offer.candidates)


@pytest.mark.parametrize(
    "text",
    [
        "at",
        "at -",
        "at - 10.0.0.5",
        "at - 10.0.0.5:",
        "at - 10.0.0.5:0",
        "at - 10.0.0.5:65536",
        "at - 10.0.0.5:+99",
        "at - fd00::1:99",
        "at - [10.0.0.5]:4000",
        "at - [fe80::1%eth0]:4000",
        "at - example.com:4000",
        "at - 10.0.0.5:4000 ",
        "somewhere 10.0.0.5:4000",
        "at -" + " 10.0.0.5:4000" * (CANDIDATES_MAX + 1),
    ],
)
def test_what_is_no_offer_is_refused(text: str) -> None:
    with pytest.raises(ProtocolError, match="offer"):
        decode_offer(text.encode())


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "fe80::1",
        "224.0.0.1",
        "ff02::1",
        "0.0.0.0",
        "::",
        "::ffff:127.0.0.1",
        "255.255.255.255",
        "2002:7f00:1::",
    ],
)
def test_a_client_never_dials_what_leads_elsewhere(host: str) -> None:
    assert dialable(Offer((Candidate(host, 40022), LAN)), "p") == (LAN,)


def test_this_machine_is_only_dialled_where_the_agent_is_on_it() -> None:
    assert dialable(Offer((HERE, LAN), "here"), "there") == (LAN,)
    assert dialable(Offer((HERE, LAN), "here"), "here") == (HERE, LAN)
    assert dialable(Offer((HERE,), NOWHERE), NOWHERE) == ()


def test_ports_of_the_systems_are_not_dialled() -> None:
    assert dialable(Offer((Candidate("10.0.0.5", PORT_MIN - 1),)), "p") == ()


@given(st.lists(CANDIDATE, max_size=CANDIDATES_MAX))
def test_not_many_are_dialled_and_none_twice(candidates: list[Candidate]) -> None:
    found = dialable(Offer((*candidates, *candidates)), "p")
    assert len(found) == len(set(found)) <= DIALED_MAX


@pytest.mark.parametrize(
    ("host", "private"),
    [
        ("10.1.2.3", True),
        ("172.31.0.1", True),
        ("192.168.0.1", True),
        ("127.0.0.1", True),
        ("::1", True),
        ("fd12::1", True),
        ("203.0.113.5", False),
        ("100.64.0.1", False),
        ("169.254.1.1", False),
        ("2001:db8::1", False),
        ("fe80::1", False),
    ],
)
def test_private_is_ones_own_network(host: str, *, private: bool) -> None:
    assert is_private(ipaddress.ip_address(host)) is private
