"""A directory with all that is in it, as one thing: what it is like, and its place. No I/O."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Final, Protocol, TypeVar

from blake3 import blake3

from kled_sync.tree.entry import DIRECTORY, FILE, HEAD_BYTES, IGNORED
from kled_sync.tree.packed import PackedEntries
from kled_sync.tree.paths import join

_LENGTH: Final = struct.Struct(">I").pack


class _Entry(Protocol):
    @property
    def is_directory(self) -> bool: ...


E = TypeVar("E", bound=_Entry)
# By path: that of everything in it, None where something is in it that has none.
Digests = dict[bytes, bytes | None]


def digest_below(
    top: bytes,
    children: Callable[[bytes], Mapping[bytes, E]],
    mark: Callable[[bytes, E], bytes | None],
    known: Digests | None = None,
) -> bytes | None:
    """What makes all below the directory `top` different from what is below another.

    `mark` says what matters of an entry at a path, and None of one that cannot be told from others.
    `known` is what was found before, and gets what is found now.
    """
    known = {} if known is None else known
    if top in known:
        return known[top]
    known[top] = None
    parts = bytearray()
    for name, entry in sorted(children(top).items()):
        path = join(top, name)
        mine = mark(path, entry)
        below = digest_below(path, children, mark, known) if entry.is_directory else b""
        if mine is None or below is None:
            return None
        parts += _LENGTH(len(name)) + name + _LENGTH(len(mine)) + mine + _LENGTH(len(below)) + below
    known[top] = blake3(parts).digest()
    return known[top]


def content_digest(
    top: bytes, packed: Callable[[bytes], PackedEntries], start: int = 0
) -> bytes | None:
    """`digest_below` of kind and content alone, as both ends of a sync tell it.

    For thousands of entries, so it takes them as they are packed; `start` is where the entry of a
    path begins in one. None where something is there that is not synced, or was not read.
    """
    parts: list[bytes] = []
    found = packed(top)
    tail = start + HEAD_BYTES
    for name, entry in zip(found.names(), found.entries(), strict=True):
        kind, below = entry[start], b""
        if kind >= IGNORED or (kind == FILE and len(entry) == tail):
            return None
        if kind == DIRECTORY:
            digest = content_digest(join(top, name), packed, start)
            if digest is None:
                return None
            below = digest
        parts += (
            _LENGTH(len(name)), name,
            _LENGTH(len(entry) - tail + 1), entry[start : start + 1], entry[tail:],
            _LENGTH(len(below)), below,
        )  # fmt: skip
    return blake3(b"".join(parts)).digest()
