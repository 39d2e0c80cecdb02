"""Keep the loader from what an image has: its preload list, its cache, its library directories.

Each path in the loader's binary is overwritten with one of the same length that cannot exist.
What an image was built against may be newer than the bundle's C library, or be another one.
"""

from __future__ import annotations

_FILES = (
    (b"/etc/ld.so.preload", b"/dev/null/.preload"),
    (b"/etc/ld.so.cache", b"/dev/null/.cache"),
)


class SealError(Exception):
    """The loader is not the one that this file knows."""


def seal_loader(binary: bytes, triplet: str) -> bytes:
    """The loader without the image's paths. Raises SealError where one is not found."""
    name = triplet.encode()
    directories = [
        b"/lib/" + name + b"/",
        b"/usr/lib/" + name + b"/",
        b"\0/lib/\0",
        b"\0/usr/lib/\0",
    ]
    for path, sealed in _FILES:
        binary = _replaced(binary, path + b"\0", sealed + b"\0")
    # The longer ones first: the shorter stand inside them.
    for directory in sorted(directories, key=len, reverse=True):
        binary = _replaced(binary, directory, _nowhere(directory))
    return binary


def _nowhere(directory: bytes) -> bytes:
    """A directory of the same length below a file."""
    ends = b"\0" if directory.startswith(b"\0") else b""
    room = len(directory) - 2 * len(ends)
    return ends + (b"/dev/null/" + b"_" * room)[: room - 1] + b"/" + ends


def _replaced(binary: bytes, old: bytes, new: bytes) -> bytes:
    assert len(old) == len(new), (old, new)
    if old not in binary:
        raise SealError(f"the loader has no {old!r}: look at its version")
    return binary.replace(old, new)
