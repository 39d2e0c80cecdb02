"""The OFFER of an agent's direct addresses, and those of them that a client may dial.

The payload is a line of ASCII, at most OFFER_MAX bytes:

    at PLACE HOST:PORT HOST:PORT …      best first; an IPv6 address stands in brackets
    off SENTENCE                        there is no direct path, and why

PLACE names the agent's network stack (machine, boot, namespace) or is `-`. A loopback address means
something only to a client in the same place.

An agent may be hostile, and must not make a client connect to others' ports: see `dialable`.
"""

from __future__ import annotations

import ipaddress
from typing import Final, NamedTuple

from kled_wire.errors import ProtocolError
from kled_wire.hosts import bracketed
from kled_wire.resume.frames import OFFER_MAX

CANDIDATES_MAX: Final = 16
# How many addresses of one offer a client dials.
DIALED_MAX: Final = 8
# Below are the system's services, which no agent listens on.
PORT_MIN: Final = 1024
NOWHERE: Final = "-"

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
# The addresses of private networks: RFC 1918, RFC 4193.
_PRIVATE: Final = tuple(
    ipaddress.ip_network(text)
    for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")
)


class Candidate(NamedTuple):
    """One address of an agent."""

    host: str
    port: int

    def __str__(self) -> str:
        """As it stands in an offer."""
        return f"{bracketed(self.host)}:{self.port}"


class Offer(NamedTuple):
    """What an agent says: addresses, the best first, or why there are none."""

    candidates: tuple[Candidate, ...] = ()
    place: str = NOWHERE
    reason: str = ""


def encode_offer(offer: Offer) -> bytes:
    """The payload of an OFFER; what does not fit is left out."""
    if not offer.candidates:
        return f"off {offer.reason}".encode("ascii", "replace")[:OFFER_MAX]
    line = f"at {offer.place}"
    for candidate in offer.candidates[:CANDIDATES_MAX]:
        if len(longer := f"{line} {candidate}") <= OFFER_MAX:
            line = longer
    return line.encode("ascii")


def decode_offer(payload: bytes) -> Offer:
    """Raises ProtocolError("offer_malformed")."""
    if len(payload) > OFFER_MAX or not payload.isascii():
        raise _malformed("it is too long, or not ASCII")
    line = payload.decode("ascii")
    word, _, rest = line.partition(" ")
    if word == "off":
        return Offer(reason="".join(c for c in rest if c.isprintable()))
    place, *texts = rest.split(" ")
    if word != "at" or not place.isprintable() or not 1 <= len(texts) <= CANDIDATES_MAX:
        raise _malformed("it begins with neither `at` nor `off`, or has too many addresses")
    return Offer(candidates=tuple(map(_parse, texts)), place=place)


def is_private(address: IpAddress) -> bool:
    """Whether an address is of this machine or of one's own network, not of the internet."""
    return address.is_loopback or any(
        address in network for network in _PRIVATE if network.version == address.version
    )


def dialable(offer: Offer, place: str) -> tuple[Candidate, ...]:
    """What a client in `place` may connect to.

    Nothing that leads to this machine unless the agent is on it too; no link-local address, where
    clouds keep their secrets; no multicast; no port of the system's; not many.
    """
    found = (c for c in offer.candidates if _may_dial(c, here=place == offer.place != NOWHERE))
    return tuple(dict.fromkeys(found))[:DIALED_MAX]


def _may_dial(candidate: Candidate, *, here: bool) -> bool:
    address = ipaddress.ip_address(candidate.host)
    if candidate.port < PORT_MIN or address.is_multicast or address.is_unspecified:
        return False
    if address.is_loopback:
        return here
    mapped = isinstance(address, ipaddress.IPv6Address) and (
        address.ipv4_mapped or address.sixtofour or address.teredo
    )
    return not (mapped or address.is_link_local or address.is_reserved)


def _parse(text: str) -> Candidate:
    host, _, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if bracketed else host
    try:
        address = ipaddress.ip_address(host)
    except ValueError as exc:
        raise _malformed(f"{text!r} is no address") from exc
    scoped = "%" in host
    if bracketed != (address.version == 6) or scoped or not port.isdecimal() or len(port) > 5:
        raise _malformed(f"{text!r} is no address and port")
    if not 0 < int(port) < 65536:
        raise _malformed(f"{text!r} has no usable port")
    return Candidate(str(address), int(port))


def _malformed(why: str) -> ProtocolError:
    return ProtocolError("offer_malformed", f"the agent's offer cannot be read: {why}")
