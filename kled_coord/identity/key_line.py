"""Parses a public key that a user gives: one line of authorized_keys(5), without options.

Parsed byte by byte, so that what is kept is what the line says and nothing beside it: the formats
are RFC 4253 (section 6.6), RFC 5656 (section 3.1), RFC 8709 and OpenSSH's PROTOCOL.u2f.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_ssh_public_key

from kled_wire.errors import InputError

LINE_MAX: Final = 16 * 1024
RSA_BITS_MIN: Final = 3072
RSA_BITS_MAX: Final = 16384  # OpenSSH's own (sshkey.h)
_SECURITY_KEY: Final = "sk-"
# How many fields follow the type.
_FIELDS: Final = {
    "ssh-ed25519": 1,
    "ecdsa-sha2-nistp256": 2,
    "ecdsa-sha2-nistp384": 2,
    "ecdsa-sha2-nistp521": 2,
    "ssh-rsa": 2,
    "sk-ssh-ed25519@openssh.com": 2,
    "sk-ecdsa-sha2-nistp256@openssh.com": 3,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyLine:
    """A key that may be registered: `key` is type and base64, `fingerprint` as ssh-keygen's."""

    key: str
    fingerprint: str
    comment: str


def parse_key_line(line: str) -> KeyLine:
    """Read Ed25519, ECDSA, their sk- kinds, or RSA from 3072 bits. Raises InputError.

    The error never repeats the line: it may be a private key, pasted by mistake.
    """
    if len(line) > LINE_MAX:
        raise _invalid("too long")
    words = line.strip().split(None, 2)
    if "PRIVATE KEY" in line:
        raise _invalid(
            "this is a private key; do not share it",
            "use the public key, whose file name ends with .pub",
        )
    if "\n" in line.strip() or len(words) < 2:
        raise _invalid("not one line of an OpenSSH public key")
    kind = words[0]
    if kind not in _FIELDS:
        raise _wrong_kind(kind, words)
    blob = _decode(words[1])
    fields = _split(blob)
    if len(fields) != 1 + _FIELDS[kind] or fields[0] != kind.encode():
        raise _invalid("damaged, or not of the kind that it names")
    _check(kind, fields)
    digest = base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
    comment = words[2] if len(words) == 3 else ""
    return KeyLine(key=f"{kind} {words[1]}", fingerprint=f"SHA256:{digest}", comment=comment)


def _check(kind: str, fields: list[bytes]) -> None:
    """Refuse points that are on no curve and short moduli."""
    if kind == "ssh-rsa":
        bits = int.from_bytes(fields[2], "big").bit_length()
        if not RSA_BITS_MIN <= bits <= RSA_BITS_MAX:
            raise _invalid(f"RSA needs {RSA_BITS_MIN} to {RSA_BITS_MAX} bits, this one has {bits}")
    if kind.startswith(_SECURITY_KEY):
        # The kind of a security key without its prefix and suffix is a plain kind. The last field
        # names the application.
        kind = kind.removeprefix(_SECURITY_KEY).removesuffix("@openssh.com")
        fields = [kind.encode(), *fields[1:-1]]
    plain = b"".join(len(field).to_bytes(4, "big") + field for field in fields)
    try:
        load_ssh_public_key(kind.encode() + b" " + base64.b64encode(plain))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _invalid("not a key of the kind that it names") from error


def _decode(text: str) -> bytes:
    try:
        blob = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _invalid("not base64 after the kind") from error
    if base64.b64encode(blob).decode() != text:
        raise _invalid("not base64 after the kind")
    return blob


def _split(blob: bytes) -> list[bytes]:
    """The strings of RFC 4251, section 5, that `blob` is made of."""
    fields: list[bytes] = []
    while blob:
        end = 4 + int.from_bytes(blob[:4], "big")
        if len(blob) < end:
            raise _invalid("cut off")
        fields.append(blob[4:end])
        blob = blob[end:]
    return fields


def _wrong_kind(kind: str, words: list[str]) -> InputError:
    if "-cert-v" in kind:
        return _invalid("this is a certificate; register a public key")
    if any(word in _FIELDS for word in " ".join(words).split()):
        return _invalid("options before the key are not allowed")
    return _invalid("this kind of key is not supported")


def _invalid(why: str, hint: str = "") -> InputError:
    kinds = f"ed25519, ECDSA, their sk- kinds, or RSA of at least {RSA_BITS_MIN} bits"
    return InputError("public_key_invalid", f"public_key: {why}", hint=hint or kinds)
