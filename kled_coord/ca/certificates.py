"""The certificates of the authority: short-lived ones for users, and those for agents' hosts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import (
    SSHCertificateBuilder,
    SSHCertificateType,
    load_ssh_public_key,
)

from kled_coord.ca.keys import public_line
from kled_coord.sources import Clock, Ids
from kled_wire.errors import InputError

HOST_LIFETIME: Final = timedelta(days=30)
# Clocks differ: a certificate is already good a minute before it was signed.
_BACKDATED: Final = timedelta(seconds=60)
_RSA_BITS_MIN: Final = 2048
_PUBLIC_KEY_MAX: Final = 16 * 1024
# In the order the certificate format wants: by name.
_EXTENSIONS: Final = (
    b"permit-X11-forwarding",
    b"permit-agent-forwarding",
    b"permit-port-forwarding",
    b"permit-pty",
    b"permit-user-rc",
)

SshPublicKey = Ed25519PublicKey | EllipticCurvePublicKey | RSAPublicKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """A signed certificate as one OpenSSH line."""

    line: str
    valid_until: datetime
    principals: tuple[str, ...]


class Authority:
    """Signs with the authority's key."""

    def __init__(
        self, *, key: Ed25519PrivateKey, clock: Clock, ids: Ids, user_lifetime_s: float
    ) -> None:
        self._key = key
        self._clock = clock
        self._ids = ids
        self._user_lifetime = timedelta(seconds=user_lifetime_s)

    @property
    def public_key(self) -> str:
        """The authority's public key as one OpenSSH line."""
        return public_line(self._key)

    def sign_user(self, public_key: str, *, key_id: str, principals: Sequence[str]) -> Certificate:
        """A user certificate with OpenSSH's usual permissions. Raises InputError."""
        return self._sign(
            public_key, SSHCertificateType.USER, key_id, principals, self._user_lifetime
        )

    def sign_host(self, public_key: str, *, key_id: str, names: Sequence[str]) -> Certificate:
        """A host certificate for these names. Raises InputError."""
        return self._sign(public_key, SSHCertificateType.HOST, key_id, names, HOST_LIFETIME)

    def _sign(
        self,
        public_key: str,
        kind: SSHCertificateType,
        key_id: str,
        principals: Sequence[str],
        lifetime: timedelta,
    ) -> Certificate:
        now = self._clock()
        builder = (
            SSHCertificateBuilder()
            .public_key(parse_public_key(public_key))
            .serial(self._ids.number())
            .type(kind)
            .key_id(key_id.encode())
            .valid_after(int((now - _BACKDATED).timestamp()))
            .valid_before(int((now + lifetime).timestamp()))
            .valid_principals([principal.encode() for principal in principals])
        )
        if kind is SSHCertificateType.USER:
            for extension in _EXTENSIONS:
                builder = builder.add_extension(extension, b"")
        line = builder.sign(self._key).public_bytes().decode("ascii")
        return Certificate(line=line, valid_until=now + lifetime, principals=tuple(principals))


def parse_public_key(line: str) -> SshPublicKey:
    """Read an OpenSSH public key: ed25519, ECDSA or RSA from 2048 bits. Raises InputError."""
    if len(line) > _PUBLIC_KEY_MAX:
        raise InputError("public_key_invalid", "public_key: too long")
    try:
        key = load_ssh_public_key(line.strip().encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InputError(
            "public_key_invalid", "public_key: not an OpenSSH public key", hint="ssh-ed25519 AAAA…"
        ) from error
    if isinstance(key, RSAPublicKey) and key.key_size >= _RSA_BITS_MIN:
        return key
    if isinstance(key, Ed25519PublicKey | EllipticCurvePublicKey):
        return key
    raise InputError(
        "public_key_invalid", "public_key: use ed25519, ECDSA, or RSA of at least 2048 bits"
    )
