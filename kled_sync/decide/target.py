"""The target path of a copy, from source and destination, as rsync and cp have it. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_NAMELESS: Final = frozenset({b"", b".", b".."})


@dataclass(frozen=True, slots=True, kw_only=True)
class CpWish:
    """`names` of the directory `source`; where there are none, `source` itself."""

    source: bytes
    destination: bytes
    names: frozenset[bytes] = frozenset()
    # For links among these, the target of the link is meant, not the link.
    followed: frozenset[bytes] = frozenset()
    recurse: bool = False
    # Whether the destination must be a directory.
    inside: bool = False


def names_contents(source: bytes) -> bool:
    """Whether not `source` is meant but what is in it, a link to it followed: `dir/`, `.`."""
    return source.rpartition(b"/")[2] in _NAMELESS


def target_of(source: bytes, destination: bytes, *, is_directory: bool) -> tuple[bytes, bytes]:
    """Where `source` goes to; and if something is a directory there, under which name in it.

    `dir` goes into the destination under its name, `dir/` is the destination afterwards. A file
    goes into a directory, or is called as the destination says.
    """
    if names_contents(source):
        return destination, b""
    name = source.rpartition(b"/")[2]
    inside = destination.rstrip(b"/") + b"/" + name if destination != b"/" else b"/" + name
    if is_directory or destination.endswith(b"/"):
        return inside, b""
    return destination, name


def name_of(source: bytes) -> bytes:
    """What cp(1) calls `source` in a directory; nothing where all that is in it goes there."""
    name = source.rstrip(b"/").rpartition(b"/")[2]
    return b"" if name in _NAMELESS else name
