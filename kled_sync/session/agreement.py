"""The state that both sides last agreed on: a tree, and a log of the agreements since.

An agreement that is too old is safe: the sides have the same content at the paths agreed on since,
and a scan shows that. So nothing waits until the log is durable; a record that a crash truncated
ends the log.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from blake3 import blake3

from kled_sync.files.snapshot import load_tree, save_tree
from kled_sync.tree.entry import TreeEntry, check_entry
from kled_sync.tree.paths import check_path
from kled_sync.tree.tree import Tree
from kled_wire.errors import ProtocolError

_HEAD: Final = struct.Struct(">HH")
_CHECK_BYTES: Final = 8
# The log is folded into the tree when it has so many records.
_RECORDS_MAX: Final = 20_000


class Agreement:
    """`directory` is None for a sync that is done once: then nothing is remembered."""

    def __init__(self, directory: Path | None) -> None:
        self.tree = Tree()
        self._directory = directory
        self._log: BinaryIO | None = None
        self._records = 0
        if directory is not None:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.tree = load_tree(directory / "agreed") or Tree()
            for path, entry in self._logged(directory / "log"):
                self._apply(path, entry)
            self._log = (directory / "log").open("ab")
            os.fchmod(self._log.fileno(), 0o600)

    def _logged(self, path: Path) -> Iterator[tuple[bytes, TreeEntry | None]]:
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return
        at = 0
        while at + _HEAD.size <= len(data):
            path_bytes, entry_bytes = _HEAD.unpack_from(data, at)
            end = at + _HEAD.size + path_bytes + entry_bytes
            record, check = data[at:end], data[end : end + _CHECK_BYTES]
            if check != blake3(record).digest(_CHECK_BYTES):
                break
            at = end + _CHECK_BYTES
            name = record[_HEAD.size : _HEAD.size + path_bytes]
            rest = record[_HEAD.size + path_bytes :]
            try:
                yield check_path(name), check_entry(rest) if rest else None
            except ProtocolError:
                break
        if at < len(data):
            os.truncate(path, at)

    def _apply(self, path: bytes, entry: TreeEntry | None) -> None:
        if entry is None:
            self.tree.remove(path)
        else:
            self.tree.put(path, entry)

    def note(self, path: bytes, entry: TreeEntry | None) -> None:
        """Both sides have `entry` at `path` now. Blocks for a moment at most."""
        if self._log is None:
            return  # nothing is asked about it again
        self._apply(path, entry)
        data = entry or b""
        record = _HEAD.pack(len(path), len(data)) + path + data
        self._log.write(record + blake3(record).digest(_CHECK_BYTES))
        self._records += 1

    def flush(self) -> None:
        """Let a crash of this process lose nothing. Blocks for the disk where the log is long."""
        if self._log is not None:
            self._log.flush()
            if self._records > _RECORDS_MAX:
                self.save()

    def save(self) -> None:
        """Write the tree, begin the log anew. Raises OSError."""
        if self._directory is None or self._log is None:
            return
        self._log.flush()
        save_tree(self._directory / "agreed", self.tree)
        self._log.truncate(0)
        self._records = 0

    def close(self) -> None:
        if self._log is not None:
            self.save()
            self._log.close()
            self._log = None
