"""The server's TLS context from the certificate files in the settings."""

from __future__ import annotations

import ssl
from pathlib import Path

from kled_wire.errors import ConfigError


def load_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """TLS 1.2 and up, HTTP/1.1 only. Raises ConfigError("tls_files_unusable")."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            "tls_files_unusable",
            f"tls_cert_file {certificate}, tls_key_file {key}: {error}",
            hint="both must be readable PEM files that belong together",
        ) from error
    return context
