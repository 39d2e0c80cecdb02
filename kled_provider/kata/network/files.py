"""The texts of a container's /etc/resolv.conf and /etc/hosts (resolv.conf(5), hosts(5)).

Kata passes the lines of what is mounted at /etc/resolv.conf on to the guest: there is always one.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence

# The address of the host as the container sees it.
HOST_GATEWAY = "host-gateway"
_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?")
_ZONE = re.compile(r"%[A-Za-z0-9_.-]{1,15}\Z")  # an interface: resolv.conf(5)
_OPTION = re.compile(r"[a-z0-9][a-z0-9:_-]{0,63}")


def name_problem(name: str) -> str | None:
    """Say what is wrong with a name of a host or domain; None: nothing."""
    if _NAME.fullmatch(name) and ".." not in name:
        return None
    return f"Use a host name of letters, digits, '.', '-' and '_'; got {name!r}."


def address_problem(address: str) -> str | None:
    """Say what is wrong with the address of a host; None: nothing."""
    if address == HOST_GATEWAY or _is_address(address):
        return None
    return f"Use an IP address, or {HOST_GATEWAY}; got {address!r}."


def ip_problem(address: str) -> str | None:
    """Say what is wrong with an IP address; None: nothing."""
    return None if _is_address(address) else f"Use an IP address; got {address!r}."


def server_problem(address: str) -> str | None:
    """Say what is wrong with the address of a DNS server, which may have a zone; None: nothing."""
    plain = _ZONE.sub("", address)
    if (problem := ip_problem(plain)) is not None:
        return problem
    if ipaddress.ip_address(plain).is_loopback:
        return f"{address} is the container itself: nothing answers there."
    return None


def _is_address(text: str) -> bool:
    """Whether it is an address, and one that means the same on every machine: without a zone.

    ipaddress takes anything as the zone of an IPv6 address, ends of lines too.
    """
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text


def option_problem(option: str) -> str | None:
    """Say what is wrong with an option of resolv.conf(5); None: nothing."""
    if _OPTION.fullmatch(option):
        return None
    return f"Use an option of resolv.conf(5), as in ndots:2; got {option!r}."


def resolv_conf(
    servers: Sequence[str], search: Sequence[str], options: Sequence[str], machine: str
) -> str:
    """Return the text; what is empty is as `machine`, the text of this machine's own, has it.

    Servers of the machine's at a loopback address are left out: a container has its own loopback.
    """
    own_servers, own_search, own_options = _read(machine)
    lines = [f"nameserver {server}" for server in servers or own_servers]
    if domains := search or own_search:
        lines.append(f"search {' '.join(domains)}")
    if words := options or own_options:
        lines.append(f"options {' '.join(words)}")
    return "".join(f"{line}\n" for line in lines)


def _read(text: str) -> tuple[list[str], list[str], list[str]]:
    servers: list[str] = []
    search: list[str] = []
    options: list[str] = []
    for line in text.splitlines():
        keyword, *words = line.split() or [""]
        if keyword == "nameserver" and words and server_problem(words[0]) is None:
            servers.append(words[0])
        elif keyword in ("search", "domain"):
            search = [word for word in words if name_problem(word) is None]
        elif keyword == "options":
            options += [word for word in words if option_problem(word) is None]
    return servers, search, options


def hosts(
    hostname: str,
    addresses: Iterable[str],
    extra: Mapping[str, str],
    gateway: str | None,
) -> str:
    """Return the text. `extra` has addresses by name, HOST_GATEWAY for `gateway`.

    A name whose address is HOST_GATEWAY is left out where there is no gateway.
    """
    lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost ip6-loopback"]
    found = tuple(addresses)
    lines += [f"{address} {hostname}" for address in found or ("127.0.1.1",)]
    for name, address in sorted(extra.items()):
        meant = gateway if address == HOST_GATEWAY else address
        if meant is not None:
            lines.append(f"{meant} {name}")
    return "".join(f"{line}\n" for line in lines)
