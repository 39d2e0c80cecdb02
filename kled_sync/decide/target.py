"""The target path of a copy, from source and destination, by rsync's rules. No I/O."""

from __future__ import annotations


def target_of(source: bytes, destination: bytes, *, is_directory: bool) -> tuple[bytes, bytes]:
    """Where `source` goes to; and if something is a directory there, under which name in it.

    `dir` goes into the destination under its name, `dir/` is the destination afterwards. A file
    goes into a directory, or is called as the destination says.
    """
    name = source.rpartition(b"/")[2]
    if name in {b"", b".", b".."}:
        return destination, b""
    inside = destination.rstrip(b"/") + b"/" + name if destination != b"/" else b"/" + name
    if is_directory or destination.endswith(b"/"):
        return inside, b""
    return destination, name
