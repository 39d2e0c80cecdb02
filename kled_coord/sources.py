"""Sources of time and randomness, passed as arguments, so that tests determine both."""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

Clock = Callable[[], datetime]
# Seconds that only grow, whatever the wall clock is set to: for durations.
Monotonic = Callable[[], float]
RandomBytes = Callable[[int], bytes]

_ID_CHARS: Final = 20
_SECRET_BYTES: Final = 32


def utc_now() -> datetime:
    """The wall clock, as an aware UTC datetime."""
    return datetime.now(UTC)


class Ids:
    """Makes ids and secrets out of a source of random bytes."""

    def __init__(self, random_bytes: RandomBytes) -> None:
        self._random_bytes = random_bytes

    def new(self, prefix: str) -> str:
        """An id such as `ws_…`: 20 characters of lowercase base32, 100 random bits."""
        return f"{prefix}_{_base32(self._random_bytes(13))[:_ID_CHARS]}"

    def secret(self, prefix: str = "") -> str:
        """`prefix` and 32 random bytes in lowercase base32."""
        return prefix + _base32(self._random_bytes(_SECRET_BYTES))

    def number(self) -> int:
        """A random 63-bit number, for certificate serials."""
        return int.from_bytes(self._random_bytes(8), "big") >> 1


def _base32(data: bytes) -> str:
    return base64.b32encode(data).decode("ascii").rstrip("=").lower()
