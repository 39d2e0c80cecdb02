"""The addresses at which other machines can reach the agent (getifaddrs(3), by psutil)."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from itertools import zip_longest
from typing import Final, NamedTuple

import psutil
import trio

from kled_wire.resume.direct.offer import CANDIDATES_MAX, Candidate, IpAddress, is_private

# Networks inside this machine: nobody outside gets to them, and they are the same everywhere.
_INNER: Final = ("docker", "br-", "virbr", "cni", "podman", "lxcbr", "lxdbr", "flannel", "cali")


class InterfaceAddress(NamedTuple):
    """An address of an interface that is up."""

    interface: str
    host: str


def read_addresses() -> list[InterfaceAddress]:
    """What the system says now; nothing where a sandbox keeps it from saying."""
    try:
        return _read()
    except (OSError, psutil.Error):
        return []


def _read() -> list[InterfaceAddress]:
    # Not `isup`, which also wants a carrier: that comes later than the address, and unreported.
    stats = psutil.net_if_stats().items()
    up = {name for name, found in stats if "up" in found.flags.split(",")}
    return [
        InterfaceAddress(name, entry.address)
        for name, entries in psutil.net_if_addrs().items()
        for entry in entries
        if name in up and entry.family in {socket.AF_INET, socket.AF_INET6}
    ]


def plan_candidates(
    found: Iterable[InterfaceAddress], port: int, *, bound: str, public: bool
) -> tuple[Candidate, ...]:
    """Where to be reached, the best first, by who listens on `bound` (`::` and `0.0.0.0`: on all).

    Loopback comes first, as it is nothing to a client elsewhere; then one's own networks, those of
    the internet only with `public`, both families in turns. Link-local addresses mean nothing
    without the interface of whoever dials.
    """
    listening = ipaddress.ip_address(bound)
    loopback: list[str] = []
    by_family: dict[tuple[bool, int], list[str]] = {}
    for interface, host in found:
        address = _parse(host)
        if address is None or not _is_heard(address, listening):
            continue
        if address.is_loopback:
            loopback.append(str(address))
        elif not interface.startswith(_INNER) and (public or is_private(address)):
            by_family.setdefault((is_private(address), address.version), []).append(str(address))
    hosts = loopback
    for private in (True, False):
        pairs = zip_longest(by_family.get((private, 6), ()), by_family.get((private, 4), ()))
        hosts += [host for pair in pairs for host in pair if host]
    return tuple(Candidate(host, port) for host in dict.fromkeys(hosts))[:CANDIDATES_MAX]


def _parse(host: str) -> IpAddress | None:
    if "%" in host:
        return None  # it has a scope: link-local
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    return None if address.is_link_local or address.is_unspecified else address


def _is_heard(address: IpAddress, listening: IpAddress) -> bool:
    if not listening.is_unspecified:
        return address == listening
    return listening.version == 6 or address.version == 4


async def open_port(host: str, port: int) -> trio.SocketStream:
    """Connect to a port; `localhost` is what it must be, whatever the hosts file says, or none.

    RFC 6761, section 6.3. Raises OSError.
    """
    if host != "localhost":
        return await trio.open_tcp_stream(host, port)
    try:
        return await trio.open_tcp_stream("127.0.0.1", port)
    except OSError:
        return await trio.open_tcp_stream("::1", port)
