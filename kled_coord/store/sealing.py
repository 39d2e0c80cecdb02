"""Encrypts secrets in the database: state, agent tokens, the CA's key.

AES-256-GCM under a key kept in a file beside, never in, the database. The associated data binds a
sealed value to its purpose and row, so that it cannot be moved to another.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from kled_coord.sources import RandomBytes
from kled_wire.errors import ConfigError, KledError

KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_FORMAT: Final = b"\x01"


class Sealer:
    """Seals and opens values with one key."""

    def __init__(self, key: bytes, random_bytes: RandomBytes) -> None:
        self._aead = AESGCM(key)
        self._random_bytes = random_bytes

    def seal(self, purpose: str, row_id: str, plain: bytes) -> bytes:
        """Encrypt `plain` for one purpose ("state", "agent_token", …) and row."""
        nonce = self._random_bytes(_NONCE_BYTES)
        return _FORMAT + nonce + self._aead.encrypt(nonce, plain, _bound_to(purpose, row_id))

    def open(self, purpose: str, row_id: str, sealed: bytes) -> bytes:
        """Decrypt what `seal` made. Raises KledError("sealed_unreadable")."""
        nonce, body = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
        bound_to = _bound_to(purpose, row_id) if sealed[:1] == _FORMAT else b"unknown format"
        try:
            return self._aead.decrypt(nonce, body, bound_to)
        except (InvalidTag, ValueError) as error:
            raise KledError(
                "sealed_unreadable",
                f"the sealed {purpose} of {row_id} cannot be read with this sealing key",
                hint="check that sealing_key_file is the key of this database",
            ) from error


def load_sealing_key(path: Path) -> bytes:
    """Read the key file. Raises ConfigError naming the setting."""
    try:
        key = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            "sealing_key_unreadable", f"sealing_key_file {path}: {error.strerror}"
        ) from error
    if len(key) != KEY_BYTES:
        raise ConfigError(
            "sealing_key_unreadable",
            f"sealing_key_file {path} has {len(key)} bytes instead of {KEY_BYTES}",
        )
    return key


def create_sealing_key(path: Path, random_bytes: RandomBytes) -> bytes:
    """Make the key file (0600) unless it exists, and return its key. Raises ConfigError."""
    key = random_bytes(KEY_BYTES)
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(key)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        return load_sealing_key(path)
    except OSError as error:
        raise ConfigError(
            "sealing_key_unwritable", f"sealing_key_file {path}: {error.strerror}"
        ) from error
    return key


def _bound_to(purpose: str, row_id: str) -> bytes:
    return f"{purpose}\0{row_id}".encode()
