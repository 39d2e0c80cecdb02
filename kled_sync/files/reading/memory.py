"""An endpoint's index of its side: the entries, with the stat that reveals a change.

Like git's index: a file with the same change time, inode, size and modification time is not read
again, unless it was read so soon after a write that another write could have the same times.
"""

from __future__ import annotations

import os
import stat
import struct
import time
from collections.abc import Iterator, Mapping
from typing import Final

from kled_sync.tree.directories import Directories
from kled_sync.tree.entry import (
    DIRECTORY,
    FILE,
    MODE_BITS,
    Kind,
    TreeEntry,
    bounded_time,
    make_frozen,
    make_link,
)
from kled_sync.tree.packed import PackableEntry, PackedEntries
from kled_sync.tree.paths import ROOT, join, split
from kled_sync.tree.subtree import content_digest
from kled_sync.wire.messages import Named

_STAMP: Final = struct.Struct(">qQ")
# The stamp and the entry of a file, without its digest.
_FILE_HEAD: Final = struct.Struct(">qQBHqQ")
_INODE_AND_KIND: Final = slice(8, _STAMP.size + 1)
_NEVER: Final = _STAMP.pack(0, 0)
# The kernel's clock for files ticks every 1 to 10 ms. Filesystems that have whole seconds alone
# (ext3, HFS+, an ext4 with small inodes) round down to them, FAT to every second one.
_TICK_NS: Final = 50_000_000
_SECOND_NS: Final = 1_000_000_000
_COARSE_TICK_NS: Final = 2 * _SECOND_NS + _TICK_NS


class SeenEntry(PackableEntry):
    """A stamp (time of change in ns, inode), then the entry."""

    __slots__ = ()

    @property
    def entry(self) -> TreeEntry:
        return TreeEntry(self[_STAMP.size :])

    @property
    def stamp(self) -> bytes:
        return self[: _STAMP.size]

    @property
    def inode(self) -> int:
        return int.from_bytes(self[8:16], "big")

    @property
    def is_sure(self) -> bool:
        """False for what was read so soon after it was written that a change might not show."""
        return self[: _STAMP.size] != _NEVER

    def may_differ(self, before: SeenEntry, now_ns: int) -> bool:
        """Whether it may have another owner than `before`: it changed, or could unseen."""
        stamp = self.stamp
        if stamp == _NEVER or stamp != before.stamp:
            return True
        return not is_settled(int.from_bytes(stamp[:8], "big", signed=True), now_ns)

    def is_still(self, found: os.stat_result) -> bool:
        """Whether the file has not changed since it was seen."""
        if self[_STAMP.size] == FILE:
            return stat.S_ISREG(found.st_mode) and self.startswith(_pack_seen(found))
        if self[: _STAMP.size] != stamp_of(found):
            return False
        return self[_STAMP.size] == Kind.PROBLEM or stat.S_ISLNK(found.st_mode)

    def has_size_and_time(self, found: os.stat_result) -> bool:
        """Whether a file had the size and the time of modification that `found` has."""
        entry = self.entry
        return (entry.size, entry.mtime_ns) == (found.st_size, bounded_time(found.st_mtime_ns))

    @property
    def is_directory(self) -> bool:
        return self[_STAMP.size] == DIRECTORY

    @property
    def is_file(self) -> bool:
        return self[_STAMP.size] == FILE

    def is_same(self, other: SeenEntry) -> bool:
        """Whether both are of one directory, whatever changed in it: none that got its name."""
        return self[_INODE_AND_KIND] == other[_INODE_AND_KIND]

    @property
    def size(self) -> int:
        """The size of a file in bytes."""
        return int.from_bytes(self[_FILE_HEAD.size - 8 : _FILE_HEAD.size], "big")

    def with_digest(self, digest: bytes) -> SeenEntry:
        """The same file, its content known."""
        return SeenEntry(self[: _FILE_HEAD.size] + digest)


def _pack_seen(found: os.stat_result) -> bytes:
    """A regular file without its digest, which follows."""
    times = found.st_ctime_ns, found.st_mtime_ns
    try:
        return _pack_file(found, *times)
    except struct.error:  # a time that hardly a file has; looked at a million times otherwise
        return _pack_file(found, *map(bounded_time, times))


def _pack_file(found: os.stat_result, ctime_ns: int, mtime_ns: int) -> bytes:
    mode = found.st_mode & MODE_BITS
    return _FILE_HEAD.pack(ctime_ns, found.st_ino, FILE, mode, mtime_ns, found.st_size)


def stamp_of(found: os.stat_result) -> bytes:
    return _STAMP.pack(bounded_time(found.st_ctime_ns), found.st_ino)


def seen(entry: TreeEntry, found: os.stat_result | None) -> SeenEntry:
    """`found` is None for what is to be looked at again each time."""
    return SeenEntry((_NEVER if found is None else stamp_of(found)) + entry)


def unread_file(found: os.stat_result) -> SeenEntry:
    """A regular file whose content is not known."""
    return SeenEntry(_pack_seen(found))


def is_settled(changed_ns: int, now_ns: int) -> bool:
    """Whether a change at `now_ns` would get another time than `changed_ns`."""
    is_whole = changed_ns % _SECOND_NS == 0
    return changed_ns < now_ns - (_COARSE_TICK_NS if is_whole else _TICK_NS)


def seen_file(found: os.stat_result, digest: bytes, read_at_ns: int) -> SeenEntry:
    """A file that was read: `read_at_ns` is when that began.

    Its time of modification does not count: whoever writes can set it back.
    """
    return _file(found, digest, is_sure=is_settled(found.st_ctime_ns, read_at_ns))


def placed_file(found: os.stat_result, content: TreeEntry) -> SeenEntry:
    """What is where `content` was put a moment ago; if that is something else, it is to be read."""
    rounded_ns = content.mtime_ns - bounded_time(found.st_mtime_ns)
    is_time = 0 <= rounded_ns <= _COARSE_TICK_NS
    if not (stat.S_ISREG(found.st_mode) and is_time and found.st_size == content.size):
        return seen(content, None)
    if not content.is_hashed:
        return unread_file(found)
    sure = is_settled(found.st_mtime_ns, time.time_ns())
    return _file(found, content.tail, is_sure=sure)


def _file(found: os.stat_result, digest: bytes, *, is_sure: bool) -> SeenEntry:
    packed = _pack_seen(found)
    return SeenEntry((packed if is_sure else _NEVER + packed[_STAMP.size :]) + digest)


def seen_link(found: os.stat_result, target: bytes) -> SeenEntry:
    """A link that was read; its inode may be reused as soon as it is replaced."""
    sure = is_settled(found.st_ctime_ns, time.time_ns())
    return seen(make_link(target, found.st_mtime_ns), found if sure else None)


def seen_problem(found: os.stat_result, words: str) -> SeenEntry:
    """What cannot be synced; looked at again each time while a change of it might not show."""
    sure = is_settled(found.st_ctime_ns, time.time_ns())
    return seen(make_frozen(Kind.PROBLEM, words), found if sure else None)


class Memory:
    """All that was seen, by directory and name. The root's own is under the name "" of itself."""

    def __init__(self) -> None:
        self.root: SeenEntry | None = None
        self.directories: Directories[SeenEntry] = Directories(SeenEntry)
        # Directories that a scan has to look at: somebody, or we, changed something there.
        self.dirty: set[bytes] = set()
        self.all_dirty = True
        # Whether there is something that the snapshot on disk does not have.
        self.altered = False

    def get(self, path: bytes) -> SeenEntry | None:
        if path == ROOT:
            return self.root
        return self.directories.get(*split(path))

    def put(self, path: bytes, what: SeenEntry) -> None:
        self.altered = True
        if path == ROOT:
            self.root = what
            return
        self.directories.put(*split(path), what)

    def fill(self, directory: bytes, files: dict[bytes, SeenEntry]) -> None:
        """Add or replace `files` in `directory`, all at once; its other entries stay."""
        self.altered = True
        self.directories.set(directory, self.directories.children(directory) | files)

    def remove(self, path: bytes) -> None:
        """Forget `path`, and what is below it."""
        self.altered = True
        if path == ROOT:
            self.root = None
            self.directories.clear()
            return
        if self.get(path) is not None:
            self.directories.put(*split(path), None)
        self.directories.forget(path)

    def take(self, directory: bytes, entries: Mapping[bytes, bytes]) -> None:
        """Set all that is in a directory, as a snapshot has it."""
        self.directories.use(directory, PackedEntries.of(entries))

    def move(self, source: bytes, target: bytes) -> None:
        """Let the directory at `source`, with all in it, be at `target`, where nothing is."""
        what = self.get(source)
        assert what is not None
        self.directories.move(source, target)
        self.remove(source)
        self.put(target, what)

    def below(self, directory: bytes) -> Iterator[bytes]:
        """`directory` and those in it at any depth, those before their own; none of a file."""
        if directory in self.directories:
            yield directory
            for name, what in self.directories.children(directory).items():
                if what.is_directory:
                    yield from self.below(join(directory, name))

    def content_below(self, directory: bytes) -> bytes | None:
        """The digest of all in a directory; None where it is none, or not all in it is synced."""
        what = self.get(directory)
        if what is None or not what.is_directory:
            return None
        return content_digest(directory, self.directories.packed, _STAMP.size)

    def entries(self, directory: bytes) -> Named:
        """All that is in a directory, by name."""
        packed = self.directories.packed(directory)
        return Named((name, TreeEntry(what[_STAMP.size :])) for name, what in packed.items())

    def mark(self, path: bytes) -> None:
        """Look at the directory that `path` is in at the next scan."""
        self.dirty.add(split(path)[0] if path != ROOT else ROOT)
        if path == ROOT:
            self.all_dirty = True

    def count(self) -> int:
        return self.directories.count() + (self.root is not None)
