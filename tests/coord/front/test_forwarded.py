"""Whose address stands in `X-Forwarded-For`, and who is believed."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kled_coord.front.forwarded import HOPS_MAX, decide_address

TRUSTED = [ip_network("10.0.0.0/8"), ip_network("127.0.0.1"), ip_network("2001:db8:7::/48")]
PROXY = "10.1.1.1"

Address = IPv4Address | IPv6Address


def is_trusted(address: Address) -> bool:
    return any(address in network for network in TRUSTED)


def plain(address: Address) -> Address:
    return (address.ipv4_mapped if isinstance(address, IPv6Address) else None) or address


addresses = st.ip_addresses().map(plain)
strangers = addresses.filter(lambda address: not is_trusted(address))
proxies = st.one_of(
    st.ip_addresses(network="10.0.0.0/8"), st.ip_addresses(network="2001:db8:7::/48")
)
ports = st.integers(1, 65535)


@st.composite
def written(draw: st.DrawFn, address: Address) -> str:
    """An address as proxies write it."""
    forms = [f"{address}"]
    if isinstance(address, IPv4Address):
        forms += [f"{address}:{draw(ports)}", f"::ffff:{address}", f"[::ffff:{address}]:1"]
    else:
        forms += [f"[{address}]:{draw(ports)}", f"[{address}]", address.exploded.upper()]
    space = st.sampled_from(["", " ", "\t "])
    return draw(space) + draw(st.sampled_from(forms)) + draw(space)


@given(st.data(), st.text(max_size=60), strangers, st.lists(proxies, max_size=HOPS_MAX - 1))
def test_the_right_most_stranger_is_the_client_whatever_is_left_of_it(
    data: st.DataObject, lies: str, client: Address, hops: list[Address]
) -> None:
    told = [data.draw(written(address)) for address in (client, *hops)]
    assert decide_address(PROXY, ",".join([lies, *told]), TRUSTED) == str(client)
    assert decide_address(PROXY, ",".join(told), TRUSTED) == str(client)


@given(strangers, st.text())
def test_nobody_else_is_believed(peer: Address, header: str) -> None:
    for text in (str(peer), f"::ffff:{peer}" if peer.version == 4 else str(peer)):
        assert decide_address(text, header, TRUSTED) == text
        assert decide_address(text, "192.0.2.1", TRUSTED) == text
        assert decide_address(text, "192.0.2.1", ()) == text


@given(st.text())
def test_garbage_gives_an_address_or_the_connection_s(header: str) -> None:
    found = decide_address(PROXY, header, TRUSTED)
    assert found == PROXY or str(ip_address(found)) == found


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        ",",
        "192.0.2.1,",
        "unknown",
        "_hidden",
        "192.0.2.1 192.0.2.2",
        "192.0.2.300",
        "192.0.2.1:",
        "192.0.2.1:123456",
        "[192.0.2.1:80",
        "2001:db8::1]:80",
        "fe80::1%eth0",
        "[fe80::1%25eth0]:80",
        "example.com",
        "for=192.0.2.1",
        "192.0.2.1, unknown, 10.0.0.1",
        # latin-1 as it comes from a head; int() would take the digits of others.
        "\xb9\xb2.0.2.1",
        "١٢٧.0.0.1",
    ],
)
def test_a_malformed_header_is_as_good_as_none(header: str | None) -> None:
    assert decide_address(PROXY, header, TRUSTED) == PROXY


def test_a_client_that_is_a_proxy_itself_is_the_left_most() -> None:
    assert decide_address(PROXY, "10.3.3.3, 10.2.2.2", TRUSTED) == "10.3.3.3"
    assert decide_address("127.0.0.1", "127.0.0.1", TRUSTED) == "127.0.0.1"


@pytest.mark.parametrize("peer", ["::ffff:10.0.0.1", "2001:db8:7::1", "127.0.0.1"])
def test_proxies_are_of_either_family(peer: str) -> None:
    assert decide_address(peer, "192.0.2.1", TRUSTED) == "192.0.2.1"


def test_a_peer_without_an_address_is_no_proxy() -> None:
    everybody = [ip_network("0.0.0.0/0"), ip_network("::/0")]
    assert decide_address("", "192.0.2.1", everybody) == ""
    assert decide_address("/run/socket", "192.0.2.1", everybody) == "/run/socket"


def test_a_header_of_thousands_of_proxies_is_not_read_through() -> None:
    assert decide_address(PROXY, "192.0.2.1" + ",10.0.0.1" * HOPS_MAX, TRUSTED) == PROXY
    assert decide_address(PROXY, "10.0.0.2" + ",10.0.0.1" * HOPS_MAX, TRUSTED) == PROXY
    most = "10.0.0.2" + ",10.0.0.1" * (HOPS_MAX - 1)
    assert decide_address(PROXY, most, TRUSTED) == "10.0.0.2"
