"""go-plugin's handshake: the cookie, the certificates (AutoMTLS) and the line on standard output.

Terraform sets PLUGIN_CLIENT_CERT to its own certificate and reads ours from the line; each side
trusts exactly the other's. Source: https://github.com/hashicorp/go-plugin/blob/main/client.go.
"""

from __future__ import annotations

import base64
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

COOKIE = (
    "TF_PLUGIN_MAGIC_COOKIE",
    "d602bf8f470bc67ca7faa0386276bbdd4330efaf76d1a219cb4d6991ca9872b2",
)
CORE_PROTOCOL = 1
PLUGIN_PROTOCOL = 6
# Lives as long as one command of Terraform; clocks of the same machine do not differ.
CERTIFICATE_LIFE = timedelta(days=30)


def is_started_by_terraform(environment: Mapping[str, str]) -> bool:
    """Whether Terraform started this program; a person who did wants to be told what it is."""
    return environment.get(COOKIE[0]) == COOKIE[1]


def handshake_line(socket_path: Path, certificate: bytes) -> str:
    """Return the line, without its newline; `certificate` is DER, or empty without TLS."""
    encoded = base64.b64encode(certificate).decode().rstrip("=")
    return f"{CORE_PROTOCOL}|{PLUGIN_PROTOCOL}|unix|{socket_path}|grpc|{encoded}"


def make_tls(client_certificate: str, directory: Path) -> tuple[ssl.SSLContext, bytes]:
    """Return a context that takes connections of that client only, and our certificate as DER.

    `ssl` reads keys from files only: ours is in the private `directory` for a moment.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _self_signed(key)
    file = directory / "key.pem"
    file.touch(mode=0o600)
    file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(file)
    finally:
        file.unlink()
    context.load_verify_locations(cadata=client_certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    context.set_alpn_protocols(["h2"])
    return context, certificate.public_bytes(serialization.Encoding.DER)


def _self_signed(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + CERTIFICATE_LIFE)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
