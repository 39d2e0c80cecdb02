"""The key under which limits count an IP address: IPv4 as it is, IPv6 by its network. No I/O."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final

# One customer's network: whoever has an IPv6 address has all 2^64 of them (RFC 6177).
_IPV6_PREFIX: Final = 64


def read_address(text: str) -> IPv4Address | IPv6Address | None:
    """An address, an IPv4-mapped one as IPv4; None when it is none."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return (address.ipv4_mapped if isinstance(address, IPv6Address) else None) or address


def holder_of(address: str) -> str:
    """The key under which an address is counted: IPv4 by itself, IPv6 by its /64 network.

    What is no address is its own key; at most 64 characters.
    """
    found = read_address(address.partition("%")[0])
    if isinstance(found, IPv6Address):
        return str(ip_network((found, _IPV6_PREFIX), strict=False))
    return address[:64] if found is None else str(found)
