"""Parses the URL that a user gives for a coordinator, and finds the HTTP proxy for it. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from kled_wire.errors import UnavailableError
from kled_wire.transport.address import Address

if TYPE_CHECKING:
    from kled_wire.http.proxy import Proxy


def normalise_url(text: str) -> str:
    """What a person typed, as a URL: plain HTTP is only assumed for this machine."""
    text = text.strip().rstrip("/")
    if "://" in text:
        return text
    host = text.partition("/")[0].rpartition(":")[0] or text
    local = host in {"localhost", "[::1]"} or host.startswith("127.")
    return f"{'http' if local else 'https'}://{text}"


def wrong_scheme(address: Address) -> UnavailableError:
    """What to say where the other of HTTP and TLS answered."""
    there, right = ("plain HTTP", "http") if address.tls else ("TLS", "https")
    return UnavailableError(
        "scheme_wrong",
        f"cannot reach {address.scheme}://{address.authority}: the server speaks {there}",
        hint=f"kled login {right}://{address.host_and_port}{address.base}",
    )


def is_plain_http(reason: str | None) -> bool:
    """Whether a TLS handshake failed (`ssl.SSLError.reason`) on what is no TLS at all."""
    return reason in {"WRONG_VERSION_NUMBER", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE"}


def proxy_for(address: Address, env: Mapping[str, str]) -> Proxy | None:
    """The proxy to dial through, or None. Raises ConfigError("proxy_invalid")."""
    variable = f"{address.scheme}_proxy"
    if not env.get(variable) and not env.get(variable.upper()):
        return None
    # Only people behind a proxy pay for this import.
    from kled_wire.http.proxy import find_proxy  # noqa: PLC0415

    return find_proxy(address.scheme, address.host, env)
