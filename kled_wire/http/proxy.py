"""Chooses the HTTP proxy for an address, from HTTPS_PROXY, HTTP_PROXY and NO_PROXY.

The variables are a convention, not a standard; lower-case names win, as in curl(1). NO_PROXY is a
comma-separated list of host suffixes, IP addresses, CIDR blocks or `*`.
"""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from kled_wire.errors import ConfigError
from kled_wire.hosts import bracketed


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """An HTTP proxy that takes CONNECT. `authorization` is a header value, or None."""

    host: str
    port: int
    authorization: str | None = None


def find_proxy(scheme: str, host: str, environ: Mapping[str, str]) -> Proxy | None:
    """The proxy for `scheme`://`host`, or None for a direct connection.

    Raises ConfigError("proxy_invalid").
    """
    if _is_exempt(host, _variable("no_proxy", environ)):
        return None
    text = _variable("https_proxy" if scheme == "https" else "http_proxy", environ)
    if not text:
        return None
    try:
        url = urlsplit(text if "//" in text else f"//{text}", scheme="http")
        port = url.port or 8080
    except ValueError as exc:
        raise ConfigError("proxy_invalid", f"the proxy address is malformed: {exc}") from exc
    if url.scheme != "http" or not url.hostname:
        raise ConfigError(
            "proxy_invalid", f"a {url.scheme} proxy is not supported", hint="use http://HOST:PORT"
        )
    authorization = None
    if url.username is not None:
        pair = f"{unquote(url.username)}:{unquote(url.password or '')}"
        authorization = "Basic " + base64.b64encode(pair.encode()).decode()
    return Proxy(host=url.hostname, port=port, authorization=authorization)


def encode_connect(host: str, port: int, proxy: Proxy) -> bytes:
    """The CONNECT head (RFC 9110, section 9.3.6) that opens a tunnel to `host`:`port`."""
    target = f"{bracketed(host)}:{port}"
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
    if proxy.authorization:
        lines.append(f"Proxy-Authorization: {proxy.authorization}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _variable(name: str, environ: Mapping[str, str]) -> str:
    return environ.get(name) or environ.get(name.upper(), "")


def _is_exempt(host: str, no_proxy: str) -> bool:
    rules = [rule.strip().lower() for rule in no_proxy.split(",") if rule.strip()]
    if "*" in rules or host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        name = host.lower()
        return any(name == r.lstrip(".") or name.endswith("." + r.lstrip(".")) for r in rules)
    return address.is_loopback or any(_covers(rule, address) for rule in rules)


def _covers(rule: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    try:
        return address in ipaddress.ip_network(rule, strict=False)
    except ValueError:
        return False
