"""One vectored write of many pieces, and what is left of them."""

from __future__ import annotations

import os
from typing import Final

# IOV_MAX on Linux and macOS, sysconf(3).
VECTOR_MAX: Final = 1024


def write_vector(descriptor: int, pieces: list[bytes | memoryview]) -> list[bytes | memoryview]:
    """Write what a non-blocking descriptor takes at once; return what is left. Raises OSError."""
    start = 0
    while start < len(pieces):
        batch = pieces[start : start + VECTOR_MAX]
        try:
            sent = os.writev(descriptor, batch)
        except BlockingIOError:
            break
        for piece in batch:
            if sent < len(piece):
                return [memoryview(piece)[sent:], *pieces[start + 1 :]]
            sent -= len(piece)
            start += 1
    return pieces[start:]
