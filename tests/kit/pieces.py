"""A fuzzer's input as pieces whose sizes it says itself, and the inverse, for seeds."""

from __future__ import annotations

from collections.abc import Iterator


def pieces(data: bytes) -> Iterator[bytes]:
    """A length byte stands before each."""
    start = 0
    while start < len(data):
        size = data[start] + 1
        yield data[start + 1 : start + 1 + size]
        start += 1 + size


def in_pieces(*whole: bytes) -> bytes:
    """Bytes of which `pieces` makes these, cut where they are too long for one."""
    return b"".join(
        bytes([len(part) - 1]) + part
        for one in whole
        for part in (one[i : i + 256] for i in range(0, len(one), 256))
    )
