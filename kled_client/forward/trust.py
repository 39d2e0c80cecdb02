"""The `.kled.toml` files that the user has trusted: a cloned repository may contain one.

Each is remembered by its path and the digest of its text, so that one that changed is asked about.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from kled_client.account.files import ensure_private_dir, write_private
from kled_client.account.profile import config_dir

_FILE = "trusted.json"


def is_trusted(env: Mapping[str, str], path: Path, text: str) -> bool:
    """Whether `trust` was called for exactly this. Blocks."""
    return _load(env).get(os.fspath(path)) == _digest(text)


def trust(env: Mapping[str, str], path: Path, text: str) -> None:
    """Follow this file from now on, until it changes. Blocks. Raises ConfigError."""
    known = {**_load(env), os.fspath(path): _digest(text)}
    ensure_private_dir(config_dir(env))
    write_private(os.fspath(_place(env)), json.dumps(known, indent=2).encode() + b"\n")


def _load(env: Mapping[str, str]) -> dict[str, str]:
    with suppress(OSError, ValueError):
        known = json.loads(_place(env).read_bytes())
        if isinstance(known, dict):
            return known
    return {}


def _place(env: Mapping[str, str]) -> Path:
    return Path(config_dir(env)) / _FILE


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
