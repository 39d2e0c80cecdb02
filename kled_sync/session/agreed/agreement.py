"""The state that both sides last agreed on: a tree, and a log of the agreements since.

The log also has what was about to be brought over, written down before it was: a run that was cut
off may have brought it, or what it had become by then, of which the side that it came to has a
note. A directory that is moved has one record. Where a sync was asked for owners
and the like, the log also has the mark of each path on which they were agreed. An agreement that is
too old is safe: the sides have the same content at the paths agreed on since, and a scan shows
that. So nothing waits until the log is durable; a record that a crash truncated ends the log.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from blake3 import blake3

from kled_sync.decide.attributes import AttributeMark, check_mark
from kled_sync.decide.modes import SyncSide
from kled_sync.files.reading.snapshot import load_tree, save_tree
from kled_sync.session.agreed.marks import MARKS, AttributeMarks
from kled_sync.tree.entry import TreeEntry, check_entry
from kled_sync.tree.packed import PackedEntries
from kled_sync.tree.paths import check_path, join
from kled_sync.tree.tree import Tree
from kled_wire.errors import ProtocolError

_HEAD: Final = struct.Struct(">HHB")
_CHECK_BYTES: Final = 8
# What a record says: that it is about to be brought over, and to beta; that it is a directory
# which was at the path that stands in place of the entry.
_INTENDED, _TO_BETA, _MOVED = 1, 2, 4
# The attributes of the path are agreed on; a mark stands in place of the entry.
_MARKED: Final = 8
# The name of a note stands before the entry.
_NOTED: Final = 16
NOTE_LENGTH: Final = 16
# The log is folded into the tree when it has so many records, and this part of the tree's entries:
# writing a large tree takes seconds.
_RECORDS_MAX: Final = 50_000
_RECORDS_PART_MAX: Final = 0.25


class Intended(NamedTuple):
    """The change that was about to be made on a side; empty or not, `note` is what that side calls
    its note of it.
    """

    side: SyncSide
    entry: TreeEntry
    note: str = ""

    def record(self) -> tuple[bytes, int]:
        """As the log has it."""
        flags = _intended_for(self.side) | (_NOTED if self.note else 0)
        return self.note.encode("ascii") + self.entry, flags


class Agreement:
    """`directory` is None for a sync that is done once: then nothing is remembered."""

    def __init__(self, directory: Path | None) -> None:
        self.tree = Tree()
        self.marks = AttributeMarks(None)
        self._directory = directory
        self._log: BinaryIO | None = None
        self._records = 0
        # What is being brought over, and what an earlier run was bringing when it was cut off.
        self._intended: dict[bytes, Intended] = {}
        self._unconfirmed: dict[bytes, Intended] = {}
        # Directories that are being moved: by their new path, where, and their old one.
        self._moving: dict[bytes, tuple[SyncSide, bytes]] = {}
        if directory is not None:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.tree = load_tree(directory / "agreed") or Tree()
            self.marks = AttributeMarks(directory / MARKS)
            self._replay(directory / "log")
            self._log = (directory / "log").open("ab")
            os.fchmod(self._log.fileno(), 0o600)

    def _replay(self, path: Path) -> None:
        """Do all that the log says; it ends where a crash has truncated it."""
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return
        at = 0
        while at + _HEAD.size <= len(data):
            path_bytes, entry_bytes, flags = _HEAD.unpack_from(data, at)
            end = at + _HEAD.size + path_bytes + entry_bytes
            record, check = data[at:end], data[end : end + _CHECK_BYTES]
            if check != blake3(record).digest(_CHECK_BYTES):
                break
            named = _HEAD.size + path_bytes
            try:
                self._take(check_path(record[_HEAD.size : named]), record[named:], flags)
            except ProtocolError:
                break
            at = end + _CHECK_BYTES
        if at < len(data):
            os.truncate(path, at)

    def _take(self, path: bytes, data: bytes, flags: int) -> None:
        """Raises ProtocolError."""
        side = SyncSide.BETA if flags & _TO_BETA else SyncSide.ALPHA
        if flags & _MARKED:
            self.marks.put(path, check_mark(data))
        elif flags & _MOVED and flags & _INTENDED:
            self._unconfirmed |= self._brought(side, check_path(data), path)
        elif flags & _MOVED:
            self._move(check_path(data), path)
            self.forget([found for found, _ in self.tree.walk(path)])
        elif flags & _INTENDED and data:
            at = NOTE_LENGTH if flags & _NOTED else 0
            note = data[:at].decode("ascii", "replace")
            self._unconfirmed[path] = Intended(side, check_entry(data[at:]), note)
        elif flags & _INTENDED:
            self._unconfirmed.pop(path, None)
        else:
            self._unconfirmed.pop(path, None)
            self._apply(path, check_entry(data) if data else None)

    def _brought(self, side: SyncSide, source: bytes, path: bytes) -> dict[bytes, Intended]:
        """What is to be on `side` when the directory at `source` is moved to `path`."""
        return {
            path + found[len(source) :]: Intended(side, entry)
            for found, entry in self.tree.walk(source)
            if not entry.is_directory
        }

    def _move(self, source: bytes, path: bytes) -> None:
        # The tree may be newer than the log: a crash can come between the writing of the two.
        if self.tree.get(source) is None or self.tree.get(path) is not None:
            return
        self.tree.move(source, path)
        self.marks.move(source, path)

    def _apply(self, path: bytes, entry: TreeEntry | None) -> None:
        if entry is None:
            self.tree.remove(path)
            self.marks.remove(path)
        else:
            self.tree.put(path, entry)

    @property
    def remembers(self) -> bool:
        """False of a sync that is done once, and of one that has ended."""
        return self._log is not None

    def note(self, path: bytes, entry: TreeEntry | None) -> None:
        """Both sides have `entry` at `path` now. Blocks for a moment at most."""
        if self._log is None:
            return  # nothing is asked about it again
        self._intended.pop(path, None)
        self._apply(path, entry)
        self._write(self._log, path, entry)

    def note_seen(self, path: bytes, entry: TreeEntry | None) -> None:
        """The same as a look has found it: what is about to be brought there still is."""
        intended = self._intended.get(path)
        self.note(path, entry)
        if intended is not None and self._log is not None:
            self._intended[path] = intended
            self._write(self._log, path, *intended.record())

    def note_files(self, directory: bytes, files: PackedEntries) -> None:
        """The same of new files in a directory that was noted."""
        if self._log is None:
            return
        for name, entry in files.items():
            path = join(directory, name)
            self._intended.pop(path, None)
            self._write(self._log, path, entry)
        self.tree.fill(directory, files)

    def intend(self, side: SyncSide, entries: dict[bytes, TreeEntry], note: str = "") -> None:
        """These are about to be brought to `side`: a later run knows, whatever becomes of this.

        `note`: what `side` calls its note of what they are when they come; empty where it has none.
        """
        if self._log is None:
            return
        for path, entry in entries.items():
            intended = self._intended[path] = Intended(side, entry, note)
            self._write(self._log, path, *intended.record())
        self._log.flush()

    def intend_move(self, side: SyncSide, source: bytes, path: bytes) -> None:
        """The same of a directory with all in it, which both sides have at `source`."""
        if self._log is None:
            return
        self._moving[path] = side, source
        self._write(self._log, path, source, _intended_for(side) | _MOVED)
        self._log.flush()

    def note_move(self, source: bytes, path: bytes) -> None:
        """Both sides have at `path` what they had at `source`, and nothing there."""
        if self._log is None:
            return
        self.forget_move(path)
        self._move(source, path)
        self._write(self._log, path, source, _MOVED)

    def forget_move(self, path: bytes) -> None:
        """Nothing was moved to `path`."""
        self._moving.pop(path, None)

    def mark(self, path: bytes, mark: AttributeMark) -> None:
        """Both sides have agreed on the attributes of `path`."""
        if self._log is not None and self.marks.get(path) != mark:
            self.marks.put(path, mark)
            self._write(self._log, path, mark, _MARKED)

    def unconfirmed(self) -> dict[bytes, Intended]:
        """What an earlier run intended, of which it is not known whether it was done."""
        return self._unconfirmed

    def forget(self, intended: Iterable[bytes]) -> None:
        """Forget intentions whose outcome is known."""
        for path in list(intended):
            known = self._intended.pop(path, None), self._unconfirmed.pop(path, None)
            if any(known) and self._log is not None:
                self._write(self._log, path, None, _INTENDED)

    def _write(self, log: BinaryIO, path: bytes, data: bytes | None, flags: int = 0) -> None:
        data = data or b""
        record = _HEAD.pack(len(path), len(data), flags) + path + data
        log.write(record + blake3(record).digest(_CHECK_BYTES))
        self._records += 1

    def flush(self) -> None:
        """Let a crash of this process lose nothing. Blocks for the disk where the log is long."""
        if self._log is not None:
            self._log.flush()
            if self._records > max(_RECORDS_MAX, self.tree.count() * _RECORDS_PART_MAX):
                self.save()

    def save(self) -> None:
        """Write the tree, begin the log anew: who is killed meanwhile has the one before or the new
        one. Raises OSError.
        """
        if self._directory is None or self._log is None:
            return
        self._log.flush()
        save_tree(self._directory / "agreed", self.tree)
        self.marks.save()
        self._records = 0
        begun = self._directory / "log.new"
        with begun.open("wb") as log:
            os.fchmod(log.fileno(), 0o600)
            for path, intended in (self._unconfirmed | self._intended).items():
                self._write(log, path, *intended.record())
            for path, (side, source) in self._moving.items():
                self._write(log, path, source, _intended_for(side) | _MOVED)
        begun.replace(self._directory / "log")
        self._log.close()
        self._log = (self._directory / "log").open("ab")

    def close(self) -> None:
        if self._log is not None:
            self.save()
            self._log.close()
            self._log = None


def _intended_for(side: SyncSide) -> int:
    return _INTENDED | (_TO_BETA if side is SyncSide.BETA else 0)
