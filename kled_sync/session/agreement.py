"""The state that both sides last agreed on: a tree, and a log of the agreements since.

The log also has what was about to be brought over, written down before it was: a run that was cut
off may have brought it. An agreement that is too old is safe: the sides have the same content at
the paths agreed on since, and a scan shows that. So nothing waits until the log is durable; a
record that a crash truncated ends the log.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from blake3 import blake3

from kled_sync.decide.modes import SyncSide
from kled_sync.files.snapshot import load_tree, save_tree
from kled_sync.tree.entry import TreeEntry, check_entry
from kled_sync.tree.paths import check_path
from kled_sync.tree.tree import Tree
from kled_wire.errors import ProtocolError

FILESYSTEMS: Final = "filesystems"
_HEAD: Final = struct.Struct(">HH")
_CHECK_BYTES: Final = 8
# In the lengths of path and entry, which are shorter: it is about to be brought over, and to beta.
_INTENDED, _TO_BETA = 0x8000, 0x8000
# The log is folded into the tree when it has so many records.
_RECORDS_MAX: Final = 20_000


class Intended(NamedTuple):
    """The change that was about to be made on a side."""

    side: SyncSide
    entry: TreeEntry


class Agreement:
    """`directory` is None for a sync that is done once: then nothing is remembered."""

    def __init__(self, directory: Path | None) -> None:
        self.tree = Tree()
        self._directory = directory
        self._log: BinaryIO | None = None
        self._records = 0
        # What is being brought over, and what an earlier run was bringing when it was cut off.
        self._intended: dict[bytes, Intended] = {}
        self._unconfirmed: dict[bytes, Intended] = {}
        if directory is not None:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.tree = load_tree(directory / "agreed") or Tree()
            for path, entry, side in self._logged(directory / "log"):
                if side is not None and entry is not None:
                    self._unconfirmed[path] = Intended(side, entry)
                else:
                    self._unconfirmed.pop(path, None)
                    self._apply(path, entry)
            self._log = (directory / "log").open("ab")
            os.fchmod(self._log.fileno(), 0o600)

    def _logged(self, path: Path) -> Iterator[tuple[bytes, TreeEntry | None, SyncSide | None]]:
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return
        at = 0
        while at + _HEAD.size <= len(data):
            path_bytes, entry_bytes = _HEAD.unpack_from(data, at)
            side = None
            if path_bytes & _INTENDED:
                side = SyncSide.BETA if entry_bytes & _TO_BETA else SyncSide.ALPHA
            path_bytes, entry_bytes = path_bytes & ~_INTENDED, entry_bytes & ~_TO_BETA
            end = at + _HEAD.size + path_bytes + entry_bytes
            record, check = data[at:end], data[end : end + _CHECK_BYTES]
            if check != blake3(record).digest(_CHECK_BYTES):
                break
            at = end + _CHECK_BYTES
            name = record[_HEAD.size : _HEAD.size + path_bytes]
            rest = record[_HEAD.size + path_bytes :]
            try:
                yield check_path(name), check_entry(rest) if rest else None, side
            except ProtocolError:
                break
        if at < len(data):
            os.truncate(path, at)

    def _apply(self, path: bytes, entry: TreeEntry | None) -> None:
        if entry is None:
            self.tree.remove(path)
        else:
            self.tree.put(path, entry)

    def filesystems(self) -> dict[str, int]:
        """Where each side's root was when they last agreed, as `remember_filesystems` was told."""
        if self._directory is None:
            return {}
        try:
            lines = (self._directory / FILESYSTEMS).read_text("ascii", "replace").splitlines()
        except FileNotFoundError:
            return {}
        pairs = [line.partition(" ") for line in lines]
        return {side: int(number) for side, _, number in pairs if number.isdecimal()}

    def remember_filesystems(self, found: dict[str, int]) -> None:
        """Raises OSError."""
        if self._directory is not None and found != self.filesystems():
            temporary = self._directory / f"{FILESYSTEMS}.tmp"
            temporary.write_text("".join(f"{side} {n}\n" for side, n in found.items()), "ascii")
            temporary.replace(self._directory / FILESYSTEMS)

    def note(self, path: bytes, entry: TreeEntry | None) -> None:
        """Both sides have `entry` at `path` now. Blocks for a moment at most."""
        if self._log is None:
            return  # nothing is asked about it again
        self._intended.pop(path, None)
        self._apply(path, entry)
        self._write(self._log, path, entry)
        self._records += 1

    def intend(self, side: SyncSide, entries: dict[bytes, TreeEntry]) -> None:
        """These are about to be brought to `side`: a later run knows, whatever becomes of this."""
        if self._log is None:
            return
        for path, entry in entries.items():
            self._intended[path] = Intended(side, entry)
            self._write(self._log, path, entry, side)
        self._records += len(entries)
        self._log.flush()

    def unconfirmed(self) -> dict[bytes, Intended]:
        """What an earlier run intended, of which it is not known whether it was done."""
        return self._unconfirmed

    def forget(self, intended: Iterable[bytes]) -> None:
        """It is known now what became of these."""
        for path in list(intended):
            self._intended.pop(path, None)
            self._unconfirmed.pop(path, None)

    def _write(
        self,
        log: BinaryIO,
        path: bytes,
        entry: TreeEntry | None,
        intended_for: SyncSide | None = None,
    ) -> None:
        data = entry or b""
        path_flag = _INTENDED if intended_for is not None else 0
        entry_flag = _TO_BETA if intended_for is SyncSide.BETA else 0
        record = _HEAD.pack(len(path) | path_flag, len(data) | entry_flag) + path + data
        log.write(record + blake3(record).digest(_CHECK_BYTES))

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
        for path, intended in (self._unconfirmed | self._intended).items():
            self._write(self._log, path, intended.entry, intended.side)
        self._log.flush()

    def close(self) -> None:
        if self._log is not None:
            self.save()
            self._log.close()
            self._log = None
