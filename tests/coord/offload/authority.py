"""A certificate authority for the tests of TLS, and files as a coordinator has them."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

import trustme

NAME = "coordinator.test"


@dataclass(frozen=True)
class Authority:
    """Issues certificates for NAME into a directory."""

    directory: Path
    ca: trustme.CA

    def issue(self) -> tuple[Path, Path]:
        """A new certificate and its key, in the place of those before."""
        issued = self.ca.issue_cert(NAME)
        certificate, key = self.directory / "chain.pem", self.directory / "key.pem"
        for file, content in (
            (certificate, b"".join(blob.bytes() for blob in issued.cert_chain_pems)),
            (key, issued.private_key_pem.bytes()),
        ):
            new = file.with_suffix(".new")
            new.write_bytes(content)
            new.replace(file)
        return certificate, key

    def trusting(self) -> ssl.SSLContext:
        """A client's context."""
        context = ssl.create_default_context()
        self.ca.configure_trust(context)
        return context
