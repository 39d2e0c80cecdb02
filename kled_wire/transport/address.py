"""A coordinator's URL, parsed in the same way by every program. No I/O.

Plain tuples and string methods: `kled stream` starts for each ssh connection, and `urllib.parse`
with dataclasses would be a tenth of what its start takes.
"""

from __future__ import annotations

from typing import NamedTuple

from kled_wire.errors import ConfigError
from kled_wire.hosts import bracketed

_DEFAULT_PORTS = {"http": 80, "https": 443}
# Letters, digits and hyphens (RFC 1123), and underscores, which container networks use.
_HOST = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-._")
_LABEL_MAX = 63


class Address(NamedTuple):
    """The parts of a coordinator's URL. `base` is a path without a slash at the end."""

    tls: bool
    host: str
    port: int
    base: str = ""

    @property
    def scheme(self) -> str:
        """`http` or `https`."""
        return "https" if self.tls else "http"

    @property
    def host_and_port(self) -> str:
        """With the port, also where it is the scheme's own: another scheme has another."""
        return f"{bracketed(self.host)}:{self.port}"

    @property
    def authority(self) -> str:
        """The Host header: the port is left out where it is the scheme's own."""
        default = _DEFAULT_PORTS[self.scheme]
        return bracketed(self.host) if self.port == default else self.host_and_port

    @property
    def url(self) -> str:
        """The URL in its one spelling: no two libraries read that differently."""
        return f"{self.scheme}://{self.authority}{self.base}"


def parse_url(url: str) -> Address:
    """Read `http[s]://HOST[:PORT][/BASE]` (RFC 3986). Raises ConfigError("url_invalid").

    A host name that is not ASCII becomes its IDNA form. No user, query or fragment: none of them
    would be sent, and a password would end in logs.
    """
    scheme, separator, rest = url.partition("://")
    scheme = scheme.lower()
    if not separator or scheme not in _DEFAULT_PORTS:
        raise _invalid(url, "it must begin with http:// or https://")
    authority, slash, path = rest.partition("/")
    if "@" in authority:
        raise _invalid(url, "")
    base = slash + path
    if not set("?# ").isdisjoint(rest) or not base.isascii() or not base.isprintable():
        raise _invalid(url, "it may have a host, a port and a path only")
    host, port = _split_port(url, authority, _DEFAULT_PORTS[scheme])
    return Address(tls=scheme == "https", host=host, port=port, base=base.rstrip("/"))


def _split_port(url: str, authority: str, default: int) -> tuple[str, int]:
    if authority.startswith("["):
        host, bracket, port = authority[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            raise _invalid(url, "the address lacks a closing bracket")
        host, port = _check_ipv6(url, host), port[1:]
    else:
        host, _, port = authority.partition(":")
        host = _check_name(url, host)
    if not port:
        return host, default
    digits = port.isascii() and port.isdecimal() and len(port) <= len("65535")
    if not digits or not 0 < int(port) < 65536:
        raise _invalid(url, f"{port!r} is not a port")
    return host, int(port)


def _check_ipv6(url: str, host: str) -> str:
    from ipaddress import AddressValueError, IPv6Address  # noqa: PLC0415  # start-up time

    try:
        IPv6Address(host)
    except AddressValueError as exc:
        raise _invalid(url, "in brackets stands an IPv6 address") from exc
    if not host.isascii() or not host.isprintable():  # a zone may be anything
        raise _invalid(url, "in brackets stands an IPv6 address")
    return host


def _check_name(url: str, host: str) -> str:
    """`host` as it goes into DNS and headers."""
    try:
        name = (host if host.isascii() else host.encode("idna").decode()).lower()
    except UnicodeError as exc:
        raise _invalid(url, f"{host!r} is not a host name: {exc}") from exc
    labels = name.removesuffix(".").split(".")
    if not _HOST.issuperset(name) or not all(0 < len(label) <= _LABEL_MAX for label in labels):
        raise _invalid(url, f"{host!r} is not a host name" if host else "there is no host in it")
    return name


def _invalid(url: str, why: str) -> ConfigError:
    if "@" in url:  # a password is not repeated
        sentence = "it must not have a user name or a password"
    else:
        sentence = f"{url!r} is not a coordinator's URL: {why}"
    return ConfigError("url_invalid", sentence, hint="https://HOST[:PORT]")
