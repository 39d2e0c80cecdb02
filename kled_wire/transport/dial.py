"""Dial the coordinator: TCP, perhaps through an HTTP proxy, perhaps TLS; then the upgrade."""

from __future__ import annotations

import os
import re
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NoReturn
from urllib.parse import urlsplit

import trio

from kled_wire.errors import ConfigError, UnavailableError
from kled_wire.http import proxy, upgrade
from kled_wire.http.headio import read_body, read_head
from kled_wire.transport.prefixed import PrefixedStream

# A refusal is a code and a sentence; what is longer is not ours.
_REFUSAL_MAX_BYTES: Final = 65536
_PRINTABLE: Final = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a coordinator is: the parts of its URL. `base` is a path without trailing slash."""

    scheme: str
    host: str
    port: int
    base: str

    @property
    def authority(self) -> str:
        """The value of a Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        default = 443 if self.scheme == "https" else 80
        return host if self.port == default else f"{host}:{self.port}"


def parse_url(url: str) -> Address:
    """Read `http://…` or `https://…`. Raises ConfigError("url_invalid")."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as exc:
        raise ConfigError("url_invalid", f"{url!r} is not a URL: {exc}") from exc
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ConfigError(
            "url_invalid", f"{url!r} is not a coordinator's URL", hint="use https://HOST[:PORT]"
        )
    default = 443 if parts.scheme == "https" else 80
    return Address(
        scheme=parts.scheme,
        host=_ascii_host(url, parts.hostname),
        port=port or default,
        base=parts.path.rstrip("/"),
    )


def _ascii_host(url: str, host: str) -> str:
    """`host` as it goes into DNS and headers (IDNA). A URL has no other letters elsewhere."""
    try:
        name = host if ":" in host else host.encode("idna").decode()
    except UnicodeError as exc:
        raise ConfigError("url_invalid", f"{url!r} has no usable host name: {exc}") from exc
    rest = url.replace(host, "", 1) if not host.isascii() else url
    if not (_PRINTABLE.fullmatch(rest) and _PRINTABLE.fullmatch(name)):
        raise ConfigError("url_invalid", f"{url!r} has characters that a URL cannot have")
    return name


async def open_connection(
    address: Address, *, ssl_context: ssl.SSLContext | None = None
) -> trio.abc.HalfCloseableStream:
    """Connect to `address`, honouring the proxy variables; TLS is done where the scheme says so.

    The caller owns the deadline. Raises UnavailableError("coordinator_unreachable").
    """
    via = proxy.find_proxy(address.scheme, address.host, os.environ)
    host, port = (via.host, via.port) if via else (address.host, address.port)
    try:
        stream = await trio.open_tcp_stream(host, port)
    except (OSError, UnicodeError) as exc:  # UnicodeError: a label that IDNA refuses
        what = f"the proxy {host}:{port}" if via else f"the coordinator at {host}:{port}"
        raise UnavailableError(
            "coordinator_unreachable",
            f"{what} cannot be reached: {_reason(exc)}",
            hint="check the address and that `kled-coord serve` is running",
        ) from exc
    try:
        tune(stream)
        if via:
            await _connect_through(stream, address, via)
        if address.scheme == "https":
            return await _start_tls(stream, address.host, ssl_context)
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return stream


async def open_upgraded(
    url: str,
    *,
    headers: Mapping[str, str],
    nursery: trio.Nursery,
    ssl_context: ssl.SSLContext | None = None,
) -> trio.abc.HalfCloseableStream:
    """Ask `url` to become a kled-stream and return the raw stream.

    Where something on the way does not let the upgrade through, the same stream is carried in
    WebSocket messages, which a task in `nursery` reads. The caller owns the
    deadline. Raises the KledError the coordinator answered with, or UnavailableError.
    """
    from kled_wire.transport.wscarrier import open_carried  # noqa: PLC0415 - rare, slow import

    try:
        return await upgrade_raw(url, headers=headers, ssl_context=ssl_context)
    except UnavailableError as exc:
        if exc.code != "upgrade_refused":
            raise
        return await open_carried(url, headers=headers, nursery=nursery, ssl_context=ssl_context)


async def upgrade_raw(
    url: str, *, headers: Mapping[str, str], ssl_context: ssl.SSLContext | None = None
) -> trio.abc.HalfCloseableStream:
    """As `open_upgraded`, without the WebSocket fallback: raises "upgrade_refused" instead."""
    address = parse_url(url)
    target = url.partition("://")[2].partition("/")[2]
    stream = await open_connection(address, ssl_context=ssl_context)
    try:
        request = upgrade.encode_request(f"/{target}", host=address.authority, headers=headers)
        await stream.send_all(request)
        buffer = bytearray()
        head = upgrade.parse_response(await read_head(stream, buffer))
        if not upgrade.check_switching(head):
            await _raise_refusal(stream, head, buffer)
    except (trio.BrokenResourceError, OSError) as exc:
        await trio.aclose_forcefully(stream)
        raise UnavailableError(
            "coordinator_unreachable", f"the connection to {address.authority} broke"
        ) from exc
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return PrefixedStream(bytes(buffer), stream) if buffer else stream


async def _raise_refusal(
    stream: trio.abc.ReceiveStream, head: upgrade.ResponseHead, buffer: bytearray
) -> NoReturn:
    size = min(head.content_length or 0, _REFUSAL_MAX_BYTES)
    raise upgrade.decode_error(head.status, await read_body(stream, buffer, size))


async def _connect_through(stream: trio.SocketStream, address: Address, via: proxy.Proxy) -> None:
    try:
        await stream.send_all(proxy.encode_connect(address.host, address.port, via))
        head = upgrade.parse_response(await read_head(stream))
    except trio.BrokenResourceError as exc:
        raise UnavailableError(
            "coordinator_unreachable", f"the connection to the proxy {via.host}:{via.port} broke"
        ) from exc
    if head.status != 200:
        raise UnavailableError(
            "proxy_refused",
            f"the proxy {via.host}:{via.port} answered {head.status} {head.reason}",
            hint="check HTTPS_PROXY; a user and password go into it as http://USER:PASSWORD@HOST",
        )


async def _start_tls(
    stream: trio.SocketStream, host: str, context: ssl.SSLContext | None
) -> trio.abc.HalfCloseableStream:
    from kled_wire.transport.tls import TlsStream  # noqa: PLC0415 - plain HTTP needs no TLS

    try:
        secured = TlsStream(stream, context or ssl.create_default_context(), server_hostname=host)
        await secured.do_handshake()
    except (trio.BrokenResourceError, ValueError) as exc:
        raise UnavailableError(
            "tls_failed",
            f"TLS with {host} failed: {exc.__cause__ or exc}",
            hint="for a private certificate authority set SSL_CERT_FILE",
        ) from exc
    return secured


def tune(stream: trio.SocketStream) -> None:
    """Send small writes at once, and notice within a minute or so that the peer is gone."""
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, option):
            stream.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def _reason(exc: OSError | UnicodeError) -> str:
    causes = getattr(exc.__cause__, "exceptions", ())
    first = causes[0] if causes else exc
    if isinstance(first, OSError) and (first.errno or 0) > 0:
        return os.strerror(first.errno or 0)
    return str(first)  # getaddrinfo's errors are negative and say enough
