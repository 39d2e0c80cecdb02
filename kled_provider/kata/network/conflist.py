"""A network's CNI configuration list (CNI specification 1.0.0, "Network configuration format").

A bridge with addresses from host-local, ports by portmap, and firewall, whose `same-bridge` lets
nothing pass from one such bridge to another: networks of two workspaces do not reach each other.
"""

from __future__ import annotations

import hashlib
import ipaddress
from dataclasses import dataclass
from typing import Any

CNI_VERSION = "1.0.0"
Subnet = ipaddress.IPv4Network | ipaddress.IPv6Network
BRIDGE_PREFIX = "kled"
_EVERYWHERE = {4: "0.0.0.0/0", 6: "::/0"}


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressRange:
    """The addresses of one family that a network gives out. `gateway` is the bridge's own."""

    subnet: Subnet
    gateway: str
    first: str | None = None  # None: of the whole subnet
    last: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSpec:
    """What a network is. `id` is its name among all of this machine's.

    `mtu` 0 is the kernel's own. `internal`: there is no way out but to the bridge's address.
    `isolated`: other isolated networks of this machine are not reached either.
    """

    id: str
    ranges: tuple[AddressRange, ...]
    mtu: int = 0
    internal: bool = False
    isolated: bool = True
    dns_servers: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()


def bridge_name(network: str) -> str:
    """Return the name of a network's bridge: an interface has at most 15 characters (IFNAMSIZ)."""
    return f"{BRIDGE_PREFIX}{hashlib.sha256(network.encode()).hexdigest()[:10]}"


def conflist(spec: NetworkSpec, ipam_directory: str) -> dict[str, Any]:
    """Return the configuration list; host-local keeps what it has given out below the directory."""
    bridge: dict[str, Any] = {
        "type": "bridge",
        "bridge": bridge_name(spec.id),
        "isGateway": True,
        "ipMasq": not spec.internal,
        "hairpinMode": True,
        "capabilities": {"ips": True, "mac": True},
        "ipam": {
            "type": "host-local",
            "dataDir": ipam_directory,
            "ranges": [[_range(one)] for one in spec.ranges],
            "routes": [] if spec.internal else _routes(spec.ranges),
        },
        "dns": {
            "nameservers": list(spec.dns_servers),
            "search": list(spec.dns_search),
            "options": list(spec.dns_options),
        },
    }
    if spec.mtu:
        bridge["mtu"] = spec.mtu
    plugins = [bridge, {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True}]
    firewall: dict[str, Any] = {"type": "firewall", "backend": "iptables"}
    if spec.isolated:
        firewall["ingressPolicy"] = "same-bridge"
    return {"cniVersion": CNI_VERSION, "name": spec.id, "plugins": [*plugins, firewall]}


def _range(addresses: AddressRange) -> dict[str, str]:
    found = {"subnet": str(addresses.subnet), "gateway": addresses.gateway}
    if addresses.first:
        found["rangeStart"] = addresses.first
    if addresses.last:
        found["rangeEnd"] = addresses.last
    return found


def _routes(ranges: tuple[AddressRange, ...]) -> list[dict[str, str]]:
    return [{"dst": _EVERYWHERE[one.subnet.version], "gw": one.gateway} for one in ranges]
