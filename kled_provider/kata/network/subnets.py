"""Which addresses a network may have: what a template asks for, what the owner's pools leave."""

from __future__ import annotations

import ipaddress
import itertools
from collections.abc import Iterable, Iterator, Sequence

from kled_provider.kata.network.conflist import BRIDGE_PREFIX, AddressRange, Subnet

_SMALLEST = {4: 30, 6: 126}  # room for the bridge and one container
_MOST_TRIED = 65536  # subnets of a pool that are looked at


def subnet_problem(text: str) -> str | None:
    """Say what is wrong with a subnet as a template writes it; None: nothing."""
    if "%" in text:
        return f"A subnet has no zone; got {text!r}."
    try:
        subnet = ipaddress.ip_network(text)
    except ValueError as error:
        return f"Use a subnet as in 10.88.3.0/24; {error}."
    if subnet.prefixlen > _SMALLEST[subnet.version]:
        return f"{text} has no room: use a /{_SMALLEST[subnet.version]} or larger."
    if subnet.is_multicast or subnet.is_loopback or subnet.is_unspecified:
        return f"{text} is not for hosts."
    if not subnet.is_private:
        # The machine would look for those hosts in the bridge, whatever it has to do with them.
        return f"{text} is of hosts elsewhere: use a private one, as in 10.88.3.0/24."
    return None


def within_problem(text: str, subnet_text: str) -> str | None:
    """Say what is wrong with an address or range that must lie in a subnet; None: nothing."""
    if "%" in text:
        return f"Use an address without a zone; got {text!r}."
    try:
        inner, outer = ipaddress.ip_network(text), ipaddress.ip_network(subnet_text)
    except ValueError as error:
        return f"{error}."
    if inner.version == outer.version and _contains(outer, inner):
        return None
    return f"{text} is not within {subnet_text}."


def gateway_problem(text: str, subnet_text: str) -> str | None:
    """Say what is wrong with the bridge's own address in a subnet; None: nothing."""
    if (problem := within_problem(text, subnet_text)) is not None:
        return problem
    address, subnet = ipaddress.ip_address(text), ipaddress.ip_network(subnet_text)
    is_broadcast = subnet.version == 4 and address == subnet.broadcast_address
    if address == subnet.network_address or is_broadcast:
        return f"{text} is no host's address in {subnet_text}."
    return None


def _contains(outer: Subnet, inner: Subnet) -> bool:
    first, last = inner.network_address, inner.broadcast_address
    return first in outer and last in outer


def address_range(subnet: str, gateway: str | None, ip_range: str | None) -> AddressRange:
    """Make the range of checked words: the gateway is the first address unless said."""
    network = ipaddress.ip_network(subnet)
    first = last = None
    if ip_range is not None:
        part = ipaddress.ip_network(ip_range)
        first, last = str(part.network_address), str(part.broadcast_address)
        # host-local takes neither the network's own address nor the broadcast.
        if part.network_address == network.network_address:
            first = str(part.network_address + 1)
        if network.version == 4 and part.broadcast_address == network.broadcast_address:
            last = str(part.broadcast_address - 1)
    return AddressRange(
        subnet=network, gateway=gateway or str(network.network_address + 1), first=first, last=last
    )


def overlapping(subnet: Subnet, taken: Iterable[Subnet]) -> Subnet | None:
    """Return the first of `taken` that has an address of `subnet`; None: none has."""
    return next((other for other in taken if _overlap(subnet, other)), None)


def outside_pools(subnet: Subnet, pools: Sequence[Subnet]) -> str | None:
    """Say that a subnet is not wholly in one of the owner's pools; None: it is."""
    if any(pool.version == subnet.version and _contains(pool, subnet) for pool in pools):
        return None
    shown = ", ".join(map(str, pools)) or "it names none"
    return (
        f"{subnet} is not within an address pool of this machine's owner ({shown}). Choose a "
        "subnet of one, or leave `ipam` out."
    )


def _overlap(one: Subnet, other: Subnet) -> bool:
    if one.version != other.version:
        return False
    return _contains(one, other) or _contains(other, one)


def free_subnet(pools: Sequence[Subnet], prefix: int, taken: Sequence[Subnet]) -> Subnet | None:
    """Return the first IPv4 subnet of the pools that overlaps nothing taken; None: none is left."""
    for pool in pools:
        if pool.version != 4:
            continue
        subnets: Iterator[Subnet] = pool.subnets(new_prefix=max(prefix, pool.prefixlen))
        for subnet in itertools.islice(subnets, _MOST_TRIED):
            if overlapping(subnet, taken) is None:
                return subnet
    return None


def routed(routes: str) -> list[Subnet]:
    """Return the subnets that a machine has routes to, as /proc/net/route lists them (proc(5)).

    The default route is none, and those of our own bridges are known better.
    """
    found: list[Subnet] = []
    for line in routes.splitlines()[1:]:
        fields = line.split()
        if len(fields) < 8 or fields[0].startswith(BRIDGE_PREFIX):
            continue
        destination, mask = (bytes.fromhex(fields[i])[::-1] for i in (1, 7))
        length = int.from_bytes(mask, "big").bit_count()
        if length:
            found.append(ipaddress.IPv4Network((destination, length), strict=False))
    return found
