"""The client's address behind a proxy, from `X-Forwarded-For`. No I/O.

Each proxy appends the address of its caller, so the list is read from its right end, and only as
far as trusted proxies wrote it: the client wrote the rest and may write anything.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final

from kled_coord.addresses import read_address

Network = IPv4Network | IPv6Network

HEADER: Final = "x-forwarded-for"
# More trusted proxies in a row than anybody has; a stranger must not make us read thousands.
HOPS_MAX: Final = 32
# Some proxies add the port: `192.0.2.1:4711`, `[2001:db8::1]:4711`, `[2001:db8::1]`.
_WITH_PORT: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+))(?::[0-9]{1,5})?")


def decide_address(peer: str, header: str | None, trusted: Sequence[Network]) -> str:
    """The address of the client of a connection that comes from `peer`.

    That is the right-most address in `header` (repeated ones joined with commas) that is no trusted
    proxy, or the left-most when all are. It is `peer` itself when that is no trusted proxy, or when
    something malformed stands in the way.
    """
    if not header or not is_trusted_peer(peer, trusted):
        return peer
    found = None
    for entry in reversed(header.rsplit(",", HOPS_MAX)[-HOPS_MAX:]):
        found = _read(entry)
        if found is None:
            return peer
        if not _is_trusted(found, trusted):
            return str(found)
    return str(found) if header.count(",") < HOPS_MAX else peer


def is_trusted_peer(peer: str, trusted: Sequence[Network]) -> bool:
    """Whether a connection from `peer` comes from a trusted proxy."""
    return _is_trusted(_read(peer), trusted)


def _is_trusted(address: IPv4Address | IPv6Address | None, trusted: Sequence[Network]) -> bool:
    return address is not None and any(address in network for network in trusted)


def _read(text: str) -> IPv4Address | IPv6Address | None:
    """One address, with or without a port; IPv4-mapped IPv6 as IPv4. None when it is none."""
    text = text.strip(" \t")
    if match := _WITH_PORT.fullmatch(text):
        text = match[1] or match[2]
    if "%" in text:
        return None  # a zone means something on the proxy's machine alone
    return read_address(text)
