"""The TLS files of the settings, with which offload processes terminate TLS."""

from __future__ import annotations

from pathlib import Path

from kled_coord.offload.certificates import Certificates
from kled_wire.errors import ConfigError


def open_certificates(certificate: Path | None, key: Path | None) -> Certificates | None:
    """Read the files in the settings, if any. Raises ConfigError("tls_files_unusable")."""
    if certificate is None or key is None:
        return None
    try:
        return Certificates(certificate, key)
    except OSError as error:
        raise ConfigError(
            "tls_files_unusable",
            f"tls_cert_file {certificate}, tls_key_file {key}: {error}",
            hint="both must be readable PEM files that belong together",
        ) from error
