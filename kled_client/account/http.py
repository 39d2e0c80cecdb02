"""Enough HTTP/1.1 for `kled stream`: dial, one request, one answer. Standard library only.

`http.client` would do the same for 20 ms of imports at each ssh connection. Blocking.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from kled_client.account.endpoint import Endpoint, is_plain_http, parse_url, wrong_scheme
from kled_wire.errors import KledError, ProtocolError, UnavailableError, from_status
from kled_wire.limits import API_BODY_MAX_BYTES, DIAL_BACK_TIMEOUT_S, HEAD_MAX_BYTES

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
    """A response head. Header names are lower case; `rest` is what came after the head."""

    status: int
    headers: dict[str, str]
    rest: bytes


def connect(
    endpoint: Endpoint, proxy: Proxy | None, *, ca_file: str | None = None
) -> socket.socket:
    """Dial the coordinator, through `proxy` if given, with TLS if its URL says so.

    Raises UnavailableError. The socket keeps a timeout of ANSWER_TIMEOUT_S.
    """
    host, port = (proxy.host, proxy.port) if proxy else (endpoint.host, endpoint.port)
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
            _tunnel(sock, endpoint, proxy)
        return _wrap_tls(sock, endpoint, ca_file) if endpoint.tls else sock
    except BaseException:
        sock.close()
        raise


def send_request(
    sock: socket.socket,
    endpoint: Endpoint,
    start: str,
    headers: Mapping[str, str],
    body: bytes = b"",
) -> None:
    """Send one request; `start` is "METHOD /path". Raises UnavailableError."""
    method, _, path = start.partition(" ")
    lines = [f"{method} {endpoint.base}{path} HTTP/1.1", f"Host: {endpoint.authority}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    try:
        sock.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
    except OSError as exc:
        raise unreachable(endpoint.authority, exc) from exc


def read_answer(sock: socket.socket, peer: str) -> HttpResponse:
    """Read a response head of `peer`. Raises UnavailableError and ProtocolError."""
    data = b""
    while b"\r\n\r\n" not in data:
        if len(data) > HEAD_MAX_BYTES:
            raise ProtocolError("answer_malformed", f"{peer} answers with an endless head")
        data += _receive(sock, peer, ended=not data)
        if data.startswith(_TLS_ALERT) and " " not in peer:
            raise wrong_scheme(parse_url(f"http://{peer}"))
    head, _, rest = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    parts = first.split(" ", 2)
    if not first.startswith("HTTP/1.") or len(parts) < 2 or not parts[1].isdecimal():
        raise ProtocolError(
            "answer_malformed",
            f"{peer} does not speak HTTP",
            hint="is this the coordinator's URL? kled whoami tells it",
        )
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    return HttpResponse(status=int(parts[1]), headers=headers, rest=rest)


def read_body(sock: socket.socket, answer: HttpResponse, peer: str) -> bytes:
    """Read the rest of an answer, at most 1 MiB. Raises UnavailableError and ProtocolError."""
    declared = answer.headers.get("content-length", "")
    wanted = int(declared) if declared.isdecimal() else API_BODY_MAX_BYTES
    chunked = "chunked" in answer.headers.get("transfer-encoding", "").lower()
    body = answer.rest
    while len(body) < min(wanted, API_BODY_MAX_BYTES) and not (
        chunked and body.endswith(b"0\r\n\r\n")
    ):
        try:
            chunk = sock.recv(_READ)
        except OSError as exc:
            raise unreachable(peer, exc) from exc
        if not chunk:
            break
        body += chunk
    return _unchunk(body, peer) if chunked else body


def refusal(answer: HttpResponse, body: bytes) -> KledError | None:
    """The error a coordinator reports in its JSON shape; None when the body is not that."""
    try:
        error = json.loads(body)["error"]
        code, message, hint = error["code"], error["message"], error.get("hint")
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    return from_status(answer.status, str(code), str(message), hint and str(hint))


def unreachable(peer: str, exc: OSError) -> UnavailableError:
    """The same sentence wherever a coordinator cannot be reached."""
    return UnavailableError(
        "coordinator_unreachable",
        f"cannot reach {peer}: {_why(exc)}",
        hint="is the coordinator running, and is its URL right? kled whoami tells it",
    )


def _why(exc: OSError) -> str:
    return "no answer in time" if isinstance(exc, TimeoutError) else (exc.strerror or str(exc))


def no_proxy(host: str, port: int, exc: OSError) -> UnavailableError:
    """The proxy that the environment names does not answer."""
    return UnavailableError(
        "proxy_unreachable",
        f"cannot reach the proxy {host}:{port}: {_why(exc)}",
        hint="mend or unset HTTPS_PROXY and HTTP_PROXY, or set NO_PROXY to go there directly",
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


def _tunnel(sock: socket.socket, endpoint: Endpoint, proxy: Proxy) -> None:
    from kled_wire.http.proxy import encode_connect  # noqa: PLC0415  # rare

    peer = f"the proxy {proxy.host}:{proxy.port}"
    try:
        sock.sendall(encode_connect(endpoint.host, endpoint.port, proxy))
    except OSError as exc:
        raise unreachable(peer, exc) from exc
    answer = read_answer(sock, peer)
    if answer.status // 100 != 2:
        raise UnavailableError(
            "proxy_refused",
            f"{peer} refuses to connect to {endpoint.host} (status {answer.status})",
            hint="set NO_PROXY, or put user:password into the proxy's URL"
            if answer.status == 407
            else "set NO_PROXY to go there directly",
        )


def _wrap_tls(sock: socket.socket, endpoint: Endpoint, ca_file: str | None) -> socket.socket:
    import ssl  # noqa: PLC0415  # 10 ms that plain HTTP does not pay

    context = tls_context(ca_file)
    try:
        return context.wrap_socket(sock, server_hostname=endpoint.host)
    except ssl.SSLCertVerificationError as exc:
        raise UnavailableError(
            "tls_untrusted",
            f"the certificate of {endpoint.authority} is not trusted: {exc.verify_message}",
            hint="kled login --ca-file FILE, or KLED_CA_FILE",
        ) from exc
    except ssl.SSLError as exc:
        if is_plain_http(exc.reason):
            raise wrong_scheme(endpoint) from exc
        raise unreachable(endpoint.authority, exc) from exc
    except OSError as exc:
        raise unreachable(endpoint.authority, exc) from exc


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


def _unchunk(data: bytes, peer: str) -> bytes:
    body = b""
    while data:
        size, separator, data = data.partition(b"\r\n")
        try:
            length = int(size.partition(b";")[0], 16)
        except ValueError as exc:
            raise ProtocolError("answer_malformed", f"{peer} sends broken chunks") from exc
        if not separator or length == 0:
            break
        body, data = body + data[:length], data[length + 2 :]
    return body
