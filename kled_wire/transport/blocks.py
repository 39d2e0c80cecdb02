"""The memory of the blocks that a program reads and writes again and again."""

from __future__ import annotations

from typing import Final

_KEPT_BYTES: Final = 4 * 1024 * 1024


def keep_blocks() -> None:
    """Have the allocator reuse blocks of the size that is read, instead of mapping them anew.

    glibc maps large blocks one by one and returns the top of the heap to the system, until it sees
    a larger mapped block freed (mallopt(3), M_MMAP_THRESHOLD). Without this each 256 KiB cost 64
    page faults, a third of all the time that reading took. The block itself is never touched.
    """
    bytes(_KEPT_BYTES)
