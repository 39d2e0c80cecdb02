"""Ask the network what `kled doctor` wants to know. Blocking; run in threads with a deadline.

Requests take the path of `kled stream` (`account/http.py`): what works here works there.
"""

from __future__ import annotations

import base64
import os
import socket
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime

from kled_client.account import http
from kled_client.account.endpoint import proxy_for
from kled_client.account.profile import Profile
from kled_client.doctor import judge
from kled_client.doctor.judge import Finding, ProbeAnswer
from kled_wire.errors import KledError
from kled_wire.transport.address import Address, parse_url

# An id that no workspace has. What counts is who refuses it.
NOWHERE = "/api/v1/workspaces/ws_doctor000/stream?kind=ssh"
_FAMILIES = {socket.AF_INET: "IPv4", socket.AF_INET6: "IPv6"}
_CONNECT_S = 5.0


def lookup(host: str, port: int) -> list[tuple[int, str]]:
    """Families and addresses of a name, each once. Raises OSError and UnicodeError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys((int(row[0]), str(row[4][0])) for row in found))


def name_of(family: int) -> str:
    """What people call an address family."""
    return _FAMILIES.get(socket.AddressFamily(family), "another family")


def connect(address: str, port: int) -> None:
    """Raises OSError."""
    socket.create_connection((address, port), timeout=_CONNECT_S).close()


def check_tls(env: Mapping[str, str], profile: Profile, now: float) -> Finding:
    """Shake hands as every command would; an untrusted certificate is looked at again, without."""
    address = parse_url(profile.url)
    context = http.tls_context(profile.ca_file)
    try:
        with (
            _open(env, address._replace(tls=False), profile, secure=True) as sock,
            context.wrap_socket(sock, server_hostname=address.host) as tls,
        ):
            issuer, ends = _issued(tls.getpeercert(binary_form=True) or b"")
            private = bool(profile.ca_file or env.get("SSL_CERT_FILE"))
            version = tls.version() or "TLS"
            return judge.judge_certificate(version, issuer, ends, judge.at(now), private=private)
    except ssl.SSLCertVerificationError as exc:
        return judge.judge_untrusted(exc.verify_message, _stranger(env, address, profile))
    except ssl.SSLError as exc:
        why = (exc.reason or str(exc)).replace("_", " ").lower()
        return judge.fail(
            f"the server does not speak TLS: {why}", "check the URL; http:// is without TLS"
        )
    except (OSError, ValueError) as exc:
        return judge.fail(
            f"the handshake broke: {exc}", "something on the path may not let TLS through"
        )


def ask(
    env: Mapping[str, str],
    profile: Profile,
    path: str,
    headers: Mapping[str, str] | None = None,
) -> ProbeAnswer:
    """One GET on a connection of its own. Raises KledError, OSError."""
    address = parse_url(profile.url)
    with _open(env, address, profile, secure=address.tls) as sock:
        asked = headers or {"Connection": "close"}
        http.send_request(sock, address, f"GET {path}", asked)
        answer = http.read_answer(sock, address.authority)
        body = http.read_body(sock, answer, "the peer")
        return ProbeAnswer(status=answer.head.status, headers=answer.head.headers, body=body)


def check_upgrade(
    env: Mapping[str, str], profile: Profile, token: str, path: str, protocol: str
) -> Finding:
    """Ask for an upgrade and see who answers."""
    headers = {"Connection": "Upgrade", "Upgrade": protocol, "Authorization": f"Bearer {token}"}
    if protocol == "websocket":
        key = base64.b64encode(os.urandom(16)).decode()
        headers |= {"Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": key}
    try:
        return judge.judge_upgrade(ask(env, profile, path, headers), protocol)
    except (KledError, OSError) as exc:
        return judge.warn(explain(exc))


def explain(error: KledError | OSError) -> str:
    """An error as a finding says it."""
    if isinstance(error, KledError):
        return judge.shown(error.message)
    return judge.shown(error.strerror or str(error) or type(error).__name__)


def _open(
    env: Mapping[str, str], address: Address, profile: Profile, *, secure: bool
) -> socket.socket:
    """A connection, through the proxy that the URL's scheme has."""
    via = proxy_for(address._replace(tls=secure), env)
    return http.connect(address, via, ca_file=profile.ca_file)


def _stranger(env: Mapping[str, str], address: Address, profile: Profile) -> str:
    """Who issued the certificate that is not trusted. Nothing is sent to its owner."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with (
            _open(env, address._replace(tls=False), profile, secure=True) as sock,
            context.wrap_socket(sock, server_hostname=address.host) as tls,
        ):
            return _issued(tls.getpeercert(binary_form=True) or b"")[0]
    except (OSError, ValueError, KledError):
        return ""


def _issued(certificate: bytes) -> tuple[str, datetime]:
    """Issuer and end of a certificate in DER. Raises ValueError."""
    from cryptography import x509  # noqa: PLC0415  # 50 ms, and only for TLS

    parsed = x509.load_der_x509_certificate(certificate)
    names = parsed.issuer
    for wanted in (x509.NameOID.COMMON_NAME, x509.NameOID.ORGANIZATION_NAME):
        if found := names.get_attributes_for_oid(wanted):
            return str(found[0].value), parsed.not_valid_after_utc.astimezone(UTC)
    return names.rfc4514_string(), parsed.not_valid_after_utc.astimezone(UTC)
