"""A private certificate authority, as a company has one, and a certificate of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import trustme


@dataclass(frozen=True, kw_only=True)
class Certificates:
    """Files in PEM: the authority's certificate, and chain and key for this machine's names."""

    authority: Path
    chain: Path
    key: Path


def issue(directory: Path, *names: str) -> Certificates:
    """Make them in `directory`, for `names` (localhost, 127.0.0.1)."""
    authority = trustme.CA()
    issued = authority.issue_cert(*(names or ("localhost", "127.0.0.1")))
    made = Certificates(
        authority=directory / "ca.pem", chain=directory / "cert.pem", key=directory / "key.pem"
    )
    authority.cert_pem.write_to_path(made.authority)
    issued.private_key_pem.write_to_path(made.key)
    for blob in issued.cert_chain_pems:
        blob.write_to_path(made.chain, append=True)
    return made
