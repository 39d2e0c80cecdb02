"""An endpoint's index on disk, so that after a restart only changed files are read again.

It is written to a temporary file and renamed, with a digest of the whole: a damaged one is ignored
and costs only time. The format is a zstandard stream of each directory's path and entries by name.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import zstandard
from blake3 import blake3

from kled_sync.tree.entry import check_entry
from kled_sync.tree.paths import check_name, check_path
from kled_sync.tree.tree import Tree
from kled_wire.errors import ProtocolError

_MAGIC: Final = b"kled-sync snapshot 1\n"
_COUNT: Final = struct.Struct(">I")
_LENGTH: Final = struct.Struct(">H")
_DIGEST_BYTES: Final = 32
_PART_BYTES: Final = 1024 * 1024
Directories = dict[bytes, dict[bytes, bytes]]


def save_snapshot(path: Path, root: bytes, directories: Directories) -> None:
    """Replace the snapshot at `path`. Raises OSError."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    hasher = blake3()
    compressor = zstandard.ZstdCompressor(level=1).compressobj()
    try:
        with temporary.open("wb") as out:
            os.fchmod(out.fileno(), 0o600)
            out.write(_MAGIC)
            for part in _parts(root, directories):
                hasher.update(part)
                out.write(compressor.compress(part))
            out.write(compressor.flush())
            out.write(hasher.digest())
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def _parts(root: bytes, directories: Directories) -> Iterator[bytes]:
    buffer = bytearray(_field(root))
    for directory, entries in directories.items():
        buffer += _field(directory)
        buffer += _COUNT.pack(len(entries))
        for name, entry in entries.items():
            buffer += _field(name)
            buffer += _field(entry)
        if len(buffer) >= _PART_BYTES:
            yield bytes(buffer)
            buffer.clear()
    yield bytes(buffer)


def _field(data: bytes) -> bytes:
    return _LENGTH.pack(len(data)) + data


def load_snapshot(path: Path) -> tuple[bytes, Directories] | None:
    """The root's entry and the directories; None where there is none that can be believed."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    if not data.startswith(_MAGIC) or len(data) < len(_MAGIC) + _DIGEST_BYTES:
        return None
    with suppress(zstandard.ZstdError, struct.error, IndexError, ValueError):
        packed = memoryview(data)[len(_MAGIC) : -_DIGEST_BYTES]
        content = zstandard.ZstdDecompressor().decompressobj().decompress(packed)
        if blake3(content).digest() == data[-_DIGEST_BYTES:]:
            return _parse(memoryview(content))
    return None


def _parse(content: memoryview) -> tuple[bytes, Directories]:
    at = 0

    def field() -> bytes:
        nonlocal at
        (length,) = _LENGTH.unpack_from(content, at)
        at += _LENGTH.size + length
        return bytes(content[at - length : at])

    root = field()
    directories: Directories = {}
    while at < len(content):
        directory = field()
        (count,) = _COUNT.unpack_from(content, at)
        at += _COUNT.size
        directories[directory] = {field(): field() for _ in range(count)}
    return root, directories


def save_tree(path: Path, tree: Tree) -> None:
    """The same for what a session agreed on. Raises OSError."""
    save_snapshot(path, tree.root or b"", tree.directories)  # type: ignore[arg-type]  # invariant dict


def load_tree(path: Path) -> Tree | None:
    """None where there is none that can be believed."""
    found = load_snapshot(path)
    if found is None:
        return None
    root, directories = found
    tree = Tree()
    try:
        tree.root = check_entry(root) if root else None
        for directory, entries in directories.items():
            tree.directories[check_path(directory)] = {
                check_name(name): check_entry(entry) for name, entry in entries.items()
            }
    except ProtocolError:
        return None
    return tree
