"""Read a coordinator's URL, and say which HTTP proxy leads to it. No I/O.

`kled_wire.transport.dial` has the same for Trio; its urllib would add 10 ms to `kled stream`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from kled_wire.errors import ConfigError, UnavailableError

if TYPE_CHECKING:
    from kled_wire.http.proxy import Proxy

_DEFAULT_PORTS = {"http": 80, "https": 443}


class Endpoint(NamedTuple):
    """Where a coordinator listens. `base` is its path prefix, without a slash at the end."""

    tls: bool
    host: str
    port: int
    base: str = ""

    @property
    def host_and_port(self) -> str:
        """With the port, also where it is the scheme's own: another scheme has another."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def authority(self) -> str:
        """The Host header: the port is left out where it is the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        default = _DEFAULT_PORTS["https" if self.tls else "http"]
        return host if self.port == default else f"{host}:{self.port}"


def normalise_url(text: str) -> str:
    """What a person typed, as a URL: plain HTTP is only assumed for this machine."""
    text = text.strip().rstrip("/")
    if "://" in text:
        return text
    host = text.partition("/")[0].rpartition(":")[0] or text
    local = host in {"localhost", "[::1]"} or host.startswith("127.")
    return f"{'http' if local else 'https'}://{text}"


def parse_url(url: str) -> Endpoint:
    """Raises ConfigError("url_invalid")."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in _DEFAULT_PORTS:
        raise _invalid(url, "it must begin with http:// or https://")
    authority, slash, path = rest.partition("/")
    if "@" in authority:
        raise _invalid("…", "a coordinator's URL holds no user name or password")
    if set("?# \t\r\n") & set(rest) or not rest.isascii() or not rest.isprintable():
        raise _invalid(url, "only a host, a port and a path may stand there")
    host, port = _split_port(url, authority, _DEFAULT_PORTS[scheme])
    return Endpoint(tls=scheme == "https", host=host, port=port, base=(slash + path).rstrip("/"))


def wrong_scheme(endpoint: Endpoint) -> UnavailableError:
    """What to say where the other of HTTP and TLS answered."""
    there, right = ("plain HTTP", "http") if endpoint.tls else ("TLS", "https")
    asked = "https" if endpoint.tls else "http"
    return UnavailableError(
        "scheme_wrong",
        f"cannot reach {asked}://{endpoint.authority}: {there} is spoken there",
        hint=f"kled login {right}://{endpoint.host_and_port}{endpoint.base}",
    )


def is_plain_http(reason: str | None) -> bool:
    """Whether a TLS handshake failed (`ssl.SSLError.reason`) on what is no TLS at all."""
    return reason in {"WRONG_VERSION_NUMBER", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE"}


def proxy_for(endpoint: Endpoint, env: Mapping[str, str]) -> Proxy | None:
    """The proxy to dial through, or None. Raises ConfigError("proxy_invalid")."""
    scheme = "https" if endpoint.tls else "http"
    if not env.get(f"{scheme}_proxy") and not env.get(f"{scheme}_proxy".upper()):
        return None
    # Only people behind a proxy pay for this import.
    from kled_wire.http.proxy import find_proxy  # noqa: PLC0415

    return find_proxy(scheme, endpoint.host, env)


def _split_port(url: str, authority: str, default: int) -> tuple[str, int]:
    if authority.startswith("["):
        host, bracket, port = authority[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            raise _invalid(url, "the bracket of the address does not close")
        port = port[1:]
    else:
        host, _, port = authority.partition(":")
    if not host:
        raise _invalid(url, "there is no host in it")
    if not port:
        return host, default
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise _invalid(url, f"{port!r} is not a port")
    return host, int(port)


def _invalid(url: str, why: str) -> ConfigError:
    return ConfigError(
        "url_invalid", f"{url} is not a coordinator's URL: {why}", hint="https://HOST[:PORT]"
    )
