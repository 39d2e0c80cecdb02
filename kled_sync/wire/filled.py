"""The small files that a new directory comes with, as one part of a job. No I/O.

Each has a number in the job as other contents have, after those of all operations: the first of a
directory has the number after the last of the directory before, in the order of the operations.
They are in the order of their names.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final, NamedTuple, Protocol, TypeVar

from kled_sync.tree.entry import FILE, HASHED_FILE_BYTES, MODE_BITS, TreeEntry
from kled_sync.tree.packed import PackedEntries
from kled_sync.tree.paths import are_plain_names, check_path
from kled_wire.errors import ProtocolError

# The limit of one job, so that a peer does not choose our memory.
FILES_MAX: Final = 1000
# A file of this size or more is requested by itself. The limit is below that of files sent in
# chunks, so that most files that grow meanwhile are still sent in one piece.
FILE_BYTES: Final = 512 * 1024
_SEPARATOR: Final = b"/"
_SIZES: Final = struct.Struct(">11xQ32x").iter_unpack
# Stands for a file that was not sent.
_ABSENT: Final = bytes(HASHED_FILE_BYTES)
_MODE_MAX: Final = MODE_BITS >> 8
# The fact of an endpoint that knows of this.
FILLS: Final = "fills"


class NewFiles(NamedTuple):
    """The names of the files, and the sum of their sizes in bytes."""

    names: Sequence[bytes] = ()
    size: int = 0

    def row(self) -> tuple[bytes, int]:
        """As a message has it."""
        return _SEPARATOR.join(self.names), self.size


NO_FILES: Final = NewFiles()


class _Filled(Protocol):
    @property
    def files(self) -> NewFiles: ...


F = TypeVar("F", bound=_Filled)


def filled(operations: Sequence[F]) -> Iterator[tuple[int, F]]:
    """The directories that come with files, each after the number of its first one."""
    number = len(operations)
    for operation in operations:
        count = len(operation.files.names)
        if count:
            yield number, operation
            number += count


def parse_names(value: object) -> list[bytes]:
    """What `NewFiles.row` wrote. Raises ProtocolError."""
    names = value.split(_SEPARATOR, FILES_MAX) if isinstance(value, bytes) else []
    if not are_plain_names([*names]) or not all(a < b for a, b in pairwise(names)):
        raise ProtocolError("sync_message_refused", "invalid names of files")
    return names


def parse_files(names: object, size: object) -> NewFiles:
    """Raises ProtocolError."""
    if not isinstance(size, int) or not 0 <= size < 2**63:
        raise ProtocolError("sync_message_refused", "an invalid size of files")
    return NewFiles(parse_names(names), size)


class SuppliedFolder(NamedTuple):
    """The entries of a directory's files as they were sent; `first` is the number of the first."""

    first: int
    entries: bytes

    def packed(self, names: Sequence[bytes]) -> PackedEntries | None:
        """The entries packed under `names`; None if a file was not sent. Raises ProtocolError."""
        entries = self.entries
        if len(entries) != len(names) * HASHED_FILE_BYTES:
            raise ProtocolError("sync_message_refused", "another number of entries than of files")
        kinds = {*entries[::HASHED_FILE_BYTES]}
        if not kinds <= {0, FILE} or max(entries[1::HASHED_FILE_BYTES]) > _MODE_MAX:
            raise ProtocolError("sync_entry_refused", "an entry of a directory's files is no file")
        return PackedEntries.of_rows(names, entries) if 0 not in kinds else None

    @property
    def size(self) -> int:
        """The sum of the sizes of the files, in bytes."""
        return sum(size for (size,) in _SIZES(self.entries))

    def each(self) -> Iterator[tuple[int, TreeEntry]]:
        """Number and entry of each file that was sent."""
        for number, at in enumerate(range(0, len(self.entries), HASHED_FILE_BYTES), self.first):
            entry = self.entries[at : at + HASHED_FILE_BYTES]
            if entry != _ABSENT:
                yield number, TreeEntry(entry)


def join_entries(entries: Sequence[bytes | None]) -> bytes:
    """Encode `SuppliedFolder.entries`; None stands for a file that was not sent."""
    return b"".join(entry or _ABSENT for entry in entries)


class FolderItem(NamedTuple):
    """A request for files of a directory; `first` is the number of the first."""

    first: int
    path: bytes
    names: Sequence[bytes]

    def row(self) -> tuple[int, bytes, bytes]:
        """As a message has it."""
        return self.first, self.path, _SEPARATOR.join(self.names)


def parse_folder_item(row: tuple[object, ...]) -> FolderItem:
    """Raises ProtocolError."""
    match row:
        case (int(first), path, names) if 0 <= first < 2**31:
            return FolderItem(first, check_path(path), parse_names(names))
    raise ProtocolError("sync_message_refused", "an invalid item of a supply")


def parse_supplied(rows: Sequence[tuple[object, ...]]) -> dict[int, SuppliedFolder]:
    """The folders, by the number of their first file. Raises ProtocolError."""
    found = {}
    for row in rows:
        match row:
            case (int(first), bytes(entries)):
                found[first] = SuppliedFolder(first, entries)
            case _:
                raise ProtocolError("sync_message_refused", "invalid entries of files")
    return found
