"""An endpoint's index on disk, so that after a restart only changed files are read again.

It is written to a temporary file and renamed, with a digest of the whole: a damaged one is ignored
and costs only time. The format is a zstandard stream of each directory's path and entries by name.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final, TypeVar

import zstandard
from blake3 import blake3

from kled_sync.tree.directories import Directories, E
from kled_sync.tree.entry import check_entry
from kled_sync.tree.paths import check_name, check_path
from kled_sync.tree.tree import Tree
from kled_wire.errors import ProtocolError

T = TypeVar("T")
_MAGIC: Final = b"kled-sync snapshot 1\n"
_COUNT: Final = struct.Struct(">I")
_LENGTH: Final = struct.Struct(">H")
_DIGEST_BYTES: Final = 32
_PART_BYTES: Final = 1024 * 1024
_READ_BYTES: Final = 64 * 1024
# A directory, and what is in it by name.
Contents = tuple[bytes, Iterable[tuple[bytes, bytes]]]


def save_snapshot(path: Path, root: bytes, directories: Iterable[Contents]) -> None:
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


def _parts(root: bytes, directories: Iterable[Contents]) -> Iterator[bytes]:
    buffer = bytearray(_field(root))
    for directory, entries in directories:
        found = list(entries)
        buffer += _field(directory)
        buffer += _COUNT.pack(len(found))
        for name, entry in found:
            buffer += _field(name)
            buffer += _field(entry)
        if len(buffer) >= _PART_BYTES:
            yield bytes(buffer)
            buffer.clear()
    yield bytes(buffer)


def _field(data: bytes) -> bytes:
    return _LENGTH.pack(len(data)) + data


def load_snapshot(path: Path, take: Callable[[bytes, dict[bytes, bytes]], None]) -> bytes | None:
    """The root's entry; each directory with what is in it, by name, goes to `take`.

    None where it cannot be believed: then what was taken cannot either. A million entries are not
    held twice, so that shows at the end.
    """
    with suppress(OSError, zstandard.ZstdError, struct.error), path.open("rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            return None
        content = _Content(file)
        root = content.parse(_parse_field)
        while not content.is_at_end():
            take(*content.parse(_parse_directory))
        file.seek(-_DIGEST_BYTES, os.SEEK_END)
        if file.read() == content.digest():
            return root
    return None


class _Content:
    """What a snapshot says, read in parts."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._hasher = file, blake3()
        self._frame = zstandard.ZstdDecompressor().decompressobj()
        self._buffer, self._at = b"", 0

    def is_at_end(self) -> bool:
        return self._at == len(self._buffer) and not self._more()

    def parse(self, parse: Callable[[bytes, int], tuple[T, int]]) -> T:
        """What `parse` finds, when enough is there for it. Raises struct.error."""
        while True:
            with suppress(struct.error):
                found, end = parse(self._buffer, self._at)
                if end <= len(self._buffer):
                    self._at = end
                    return found
            if not self._more():
                raise struct.error("it ends too soon")

    def _more(self) -> bool:
        """Whether there was more: as much again as what is there already and was too little."""
        parts = [self._buffer[self._at :]]
        wanted = max(_PART_BYTES, len(parts[0]))
        while wanted > 0 and not self._frame.eof and (packed := self._file.read(_READ_BYTES)):
            part = self._frame.decompress(packed)
            self._hasher.update(part)
            parts.append(part)
            wanted -= len(part)
        self._buffer, self._at = b"".join(parts), 0
        return any(parts[1:])

    def digest(self) -> bytes:
        """The digest of all that was read."""
        return self._hasher.digest()


def _parse_field(data: bytes, at: int) -> tuple[bytes, int]:
    (length,) = _LENGTH.unpack_from(data, at)
    at += _LENGTH.size
    return data[at : at + length], at + length


def _parse_directory(data: bytes, at: int) -> tuple[tuple[bytes, dict[bytes, bytes]], int]:
    directory, at = _parse_field(data, at)
    (count,) = _COUNT.unpack_from(data, at)
    at += _COUNT.size
    entries = {}
    for _ in range(count):
        name, at = _parse_field(data, at)
        entries[name], at = _parse_field(data, at)
    return (directory, entries), at


def save_tree(path: Path, tree: Tree) -> None:
    """The same for what a session agreed on. Raises OSError."""
    save_snapshot(path, tree.root or b"", contents(tree.directories))


def contents(directories: Directories[E]) -> Iterator[Contents]:
    """As a snapshot has them, one after the other."""
    for directory in directories:
        yield directory, directories.packed(directory).items()


def load_tree(path: Path) -> Tree | None:
    """None where there is none that can be believed."""
    tree = Tree()

    def take(directory: bytes, entries: dict[bytes, bytes]) -> None:
        checked = {check_name(name): check_entry(entry) for name, entry in entries.items()}
        tree.directories.set(check_path(directory), checked)

    with suppress(ProtocolError):
        root = load_snapshot(path, take)
        if root is not None:
            tree.root = check_entry(root) if root else None
            return tree
    return None
