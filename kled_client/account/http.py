"""Enough HTTP/1.1 for `kled stream`: dial, one request, one answer. Standard library only.

`http.client` would do the same for 20 ms of imports at each ssh connection. Blocking.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from kled_client.account.endpoint import is_plain_http, wrong_scheme
from kled_wire.errors import ProtocolError, UnavailableError
from kled_wire.http.body import ResponseBody
from kled_wire.http.heads import ResponseHead, encode_request, head_length, parse_response
from kled_wire.limits import DIAL_BACK_TIMEOUT_S
from kled_wire.transport.address import Address, parse_url

if TYPE_CHECKING:
    import ssl

    from kled_wire.http.proxy import Proxy

CONNECT_TIMEOUT_S = 10.0
# The coordinator waits DIAL_BACK_TIMEOUT_S for the agent before it answers.
ANSWER_TIMEOUT_S = DIAL_BACK_TIMEOUT_S + 10.0
# How a TLS server answers what is no TLS (RFC 8446, sections 5.1 and 6).
_TLS_ALERT = b"\x15\x03"
_READ = 16 * 1024


class HttpResponse(NamedTuple):
    """A response head, and `rest`, which came after it."""

    head: ResponseHead
    rest: bytes


def connect(address: Address, proxy: Proxy | None, *, ca_file: str | None = None) -> socket.socket:
    """Dial the coordinator, through `proxy` if given, with TLS if its URL says so.

    Raises UnavailableError. The socket keeps a timeout of ANSWER_TIMEOUT_S.
    """
    host, port = (proxy.host, proxy.port) if proxy else (address.host, address.port)
    try:
        sock = socket.create_connection((host, port), timeout=CONNECT_TIMEOUT_S)
    except OSError as exc:
        raise (no_proxy(host, port, exc) if proxy else unreachable(f"{host}:{port}", exc)) from exc
    try:
        # Keystrokes are small writes; Nagle would hold them back.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.settimeout(ANSWER_TIMEOUT_S)
        if proxy:
            _tunnel(sock, address, proxy)
        return _wrap_tls(sock, address, ca_file) if address.tls else sock
    except BaseException:
        sock.close()
        raise


def send_request(
    sock: socket.socket,
    address: Address,
    start: str,
    headers: Mapping[str, str],
    body: bytes = b"",
) -> None:
    """Send one request; `start` is "METHOD /path". Raises UnavailableError and ProtocolError."""
    method, _, path = start.partition(" ")
    head = encode_request(f"{method} {address.base}{path}", address.authority, headers)
    try:
        sock.sendall(head + body)
    except OSError as exc:
        raise unreachable(address.authority, exc) from exc


def read_answer(sock: socket.socket, peer: str) -> HttpResponse:
    """Read a response head of `peer`. Raises UnavailableError and ProtocolError."""
    data = b""
    try:
        while (length := head_length(data)) is None:
            data += _receive(sock, peer, ended=not data)
            if data.startswith(_TLS_ALERT) and " " not in peer:
                raise wrong_scheme(parse_url(f"http://{peer}"))
        return HttpResponse(parse_response(data[:length]), data[length:])
    except ProtocolError as exc:
        raise ProtocolError(
            "answer_malformed",
            f"{peer} does not speak HTTP: {exc.message}",
            hint="check the coordinator's URL with kled whoami",
        ) from exc


def read_body(sock: socket.socket, answer: HttpResponse, peer: str) -> bytes:
    """Read the rest of an answer, at most 1 MiB. Raises UnavailableError and ProtocolError."""
    body = ResponseBody(answer.head, answer.rest)
    while not body.finished:
        try:
            body.feed(sock.recv(_READ))
        except OSError as exc:
            raise unreachable(peer, exc) from exc
    return bytes(body.content)


def unreachable(peer: str, exc: OSError) -> UnavailableError:
    """The same sentence wherever a coordinator cannot be reached."""
    return UnavailableError(
        "coordinator_unreachable",
        f"cannot reach {peer}: {_why(exc)}",
        hint="check that the coordinator is running, and check its URL with kled whoami",
    )


def _why(exc: OSError) -> str:
    return "no answer in time" if isinstance(exc, TimeoutError) else (exc.strerror or str(exc))


def no_proxy(host: str, port: int, exc: OSError) -> UnavailableError:
    """The proxy that the environment names does not answer."""
    return UnavailableError(
        "proxy_unreachable",
        f"cannot reach the proxy {host}:{port}: {_why(exc)}",
        hint="correct or unset HTTPS_PROXY and HTTP_PROXY, or set NO_PROXY",
    )


def _receive(sock: socket.socket, peer: str, *, ended: bool) -> bytes:
    try:
        chunk = sock.recv(_READ)
    except OSError as exc:
        raise unreachable(peer, exc) from exc
    if not chunk:
        how = "without an answer" if ended else "in the middle of its answer"
        raise UnavailableError(
            "coordinator_unreachable", f"{peer} closed the connection {how}", hint="try again"
        )
    return chunk


def _tunnel(sock: socket.socket, address: Address, proxy: Proxy) -> None:
    from kled_wire.http.proxy import encode_connect  # noqa: PLC0415  # rare

    peer = f"the proxy {proxy.host}:{proxy.port}"
    try:
        sock.sendall(encode_connect(address.host, address.port, proxy))
    except OSError as exc:
        raise unreachable(peer, exc) from exc
    status = read_answer(sock, peer).head.status
    if status // 100 != 2:
        raise UnavailableError(
            "proxy_refused",
            f"{peer} refuses to connect to {address.host} (status {status})",
            hint="set NO_PROXY, or put user:password into the proxy's URL"
            if status == 407
            else "set NO_PROXY to go there directly",
        )


def _wrap_tls(sock: socket.socket, address: Address, ca_file: str | None) -> socket.socket:
    import ssl  # noqa: PLC0415  # 10 ms that plain HTTP does not pay

    context = tls_context(ca_file)
    try:
        return context.wrap_socket(sock, server_hostname=address.host)
    except ssl.SSLCertVerificationError as exc:
        raise UnavailableError(
            "tls_untrusted",
            f"the certificate of {address.authority} is not trusted: {exc.verify_message}",
            hint="kled login --ca-file FILE, or KLED_CA_FILE",
        ) from exc
    except ssl.SSLError as exc:
        if is_plain_http(exc.reason):
            raise wrong_scheme(address) from exc
        raise unreachable(address.authority, exc) from exc
    except OSError as exc:
        raise unreachable(address.authority, exc) from exc


def tls_context(ca_file: str | None) -> ssl.SSLContext:
    """The system's trust, or only `ca_file`'s. Raises UnavailableError("ca_file_unreadable")."""
    import ssl  # noqa: PLC0415

    try:
        context = ssl.create_default_context(cafile=ca_file)
    except OSError as exc:
        raise UnavailableError(
            "ca_file_unreadable",
            f"cannot read the certificates in {ca_file}: {exc.strerror or exc}",
            hint="kled login --ca-file FILE",
        ) from exc
    # An upgrade is HTTP/1.1; a front that would choose h2 must not.
    context.set_alpn_protocols(["http/1.1"])
    return context
