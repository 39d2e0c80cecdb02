"""New directories that come with all that is in them in one job. No I/O.

The side that gets such a directory builds it apart and renames it into place once, instead of each
file in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from kled_sync.tree.paths import ROOT, split
from kled_sync.wire.filled import NewFiles


def find_tops(
    directories: Mapping[bytes, NewFiles],
    files: Iterable[tuple[bytes, int]],
    operations_max: int,
    bytes_max: int,
) -> dict[bytes, bytes]:
    """Of the new `directories` those that fit into a job, each with the topmost that does.

    `directories` have the files that are part of them, `files` are paths and sizes of others. A
    directory fits if it and all below it are no more than the two limits; then so do those in it.
    """
    inside = {path: [1 + len(own.names), own.size] for path, own in directories.items()}
    for path, size in files:
        above = inside.get(split(path)[0])
        if above is not None:
            above[0] += 1
            above[1] += size
    for path in sorted(inside, reverse=True):  # those in a directory before it
        above = inside.get(split(path)[0])
        if above is not None and path != ROOT:
            above[0] += inside[path][0]
            above[1] += inside[path][1]
    tops: dict[bytes, bytes] = {}
    for path in sorted(inside):
        operations, size = inside[path]
        if path != ROOT and operations <= operations_max and size <= bytes_max:
            tops[path] = tops.get(split(path)[0], path)
    return tops


def in_tree_order(path: bytes) -> bytes:
    """What paths are sorted by so that all below a directory follow it at once."""
    return path.replace(b"/", b"\0")
