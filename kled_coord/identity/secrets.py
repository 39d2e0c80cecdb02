"""The formats of our secrets, stored as SHA-256, because each has 256 random bits."""

from __future__ import annotations

import hashlib
from typing import Final

API_TOKEN: Final = "kled_"  # noqa: S105
AGENT_TOKEN: Final = "kled_agent_"  # noqa: S105
ONE_TIME_CODE: Final = "kled_once_"
# Longer than any secret we make; what is longer is not hashed at all.
_SECRET_MAX: Final = 200


def hash_secret(secret: str) -> bytes:
    """What the database keeps of a secret, and finds it by."""
    return hashlib.sha256(secret[:_SECRET_MAX].encode("utf-8", "replace")).digest()


def is_api_token(secret: str) -> bool:
    """Whether this is neither an agent's token nor a one-time code by mistake."""
    return secret.startswith(API_TOKEN) and "_" not in secret[len(API_TOKEN) :]
