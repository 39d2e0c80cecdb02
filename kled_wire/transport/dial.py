"""Dial the coordinator: TCP, perhaps through an HTTP proxy, perhaps TLS."""

from __future__ import annotations

import os
import socket
import ssl

import trio

from kled_wire.errors import UnavailableError
from kled_wire.http import proxy
from kled_wire.http.headio import read_head
from kled_wire.http.heads import parse_response
from kled_wire.transport.address import Address


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
        if address.tls:
            return await _start_tls(stream, address.host, ssl_context)
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return stream


async def _connect_through(stream: trio.SocketStream, address: Address, via: proxy.Proxy) -> None:
    try:
        await stream.send_all(proxy.encode_connect(address.host, address.port, via))
        head = parse_response(await read_head(stream))
    except trio.BrokenResourceError as exc:
        raise UnavailableError(
            "coordinator_unreachable", f"the connection to the proxy {via.host}:{via.port} broke"
        ) from exc
    if head.status // 100 != 2:
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
