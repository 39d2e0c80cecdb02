"""Ports of this machine that lead to containers. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedPort:
    """A port of this machine that leads to one of the container. `host_address` "" is every one."""

    host_port: int
    container_port: int
    protocol: str = "tcp"
    host_address: str = ""

    def collides(self, other: PublishedPort) -> bool:
        """Whether both cannot be at once."""
        same = (self.host_port, self.protocol) == (other.host_port, other.protocol)
        return same and _meet(self.host_address, other.host_address)


def _meet(one: str, other: str) -> bool:
    """Whether something reaches both addresses; 0.0.0.0 and :: are every one of their kind."""
    if not one or not other:
        return True
    first, second = ip_address(one), ip_address(other)
    is_any = first.is_unspecified or second.is_unspecified
    return first.version == second.version and (is_any or first == second)
