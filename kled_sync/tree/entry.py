"""The entry of a path, in one small bytes object: a million of them must fit. No I/O.

Layout, big endian: kind (1), mode (2), time of change in ns since the epoch (8, signed), size (8),
then the content's identity: of a file its blake3 (32) or nothing while that is not known, of a link
where it leads, of a problem the words.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final

from kled_sync.tree.packed import PackableEntry
from kled_wire.errors import ProtocolError

_HEAD: Final = struct.Struct(">BHqQ")
# The bytes before the content's identity.
HEAD_BYTES: Final = _HEAD.size
DIGEST_BYTES: Final = 32
HASHED_FILE_BYTES: Final = _HEAD.size + DIGEST_BYTES
# Longer than any link: PATH_MAX.
_TAIL_BYTES_MAX: Final = 4096
_TIME_MIN_NS, _TIME_MAX_NS = -(2**63), 2**63 - 1
MODE_BITS: Final = 0o7777
# The one permission bit that a portable sync looks at.
EXECUTABLE: Final = 0o100
_HIGH_MODE_MAX: Final = MODE_BITS >> 8


_PLAIN: Final = {
    (bytes((kind, mode)), size)
    for mode in range(_HIGH_MODE_MAX + 1)
    for kind, size in ((1, _HEAD.size), (1, HASHED_FILE_BYTES), (2, _HEAD.size))
}


class Kind(IntEnum):
    """The kind of an entry. From `IGNORED` on an entry is copied in neither direction."""

    FILE = 1
    DIRECTORY = 2
    LINK = 3
    IGNORED = 4  # there, and the rules say not to look
    OTHER = 5  # a socket, a FIFO, a device
    PROBLEM = 6  # it cannot be read, or cannot be there


# As plain numbers, which are compared a million times: a member is found and compared in five
# times as long.
FILE: Final = int(Kind.FILE)
DIRECTORY: Final = int(Kind.DIRECTORY)
LINK: Final = int(Kind.LINK)
IGNORED: Final = int(Kind.IGNORED)


class TreeEntry(PackableEntry):
    """One entry. Equal bytes are equal entries."""

    __slots__ = ()

    @property
    def kind(self) -> Kind:
        return Kind(self[0])

    @property
    def is_frozen(self) -> bool:
        """Whether nothing may be done with it."""
        return self[0] >= IGNORED

    @property
    def is_directory(self) -> bool:
        return self[0] == DIRECTORY

    @property
    def is_file(self) -> bool:
        return self[0] == FILE

    @property
    def mode(self) -> int:
        """The permission bits."""
        return int.from_bytes(self[1:3], "big")

    @property
    def mtime_ns(self) -> int:
        return int.from_bytes(self[3:11], "big", signed=True)

    @property
    def size(self) -> int:
        return int.from_bytes(self[11:19], "big")

    @property
    def tail(self) -> bytes:
        """A file's digest, a link's target, a problem's words."""
        return self[19:]

    @property
    def is_hashed(self) -> bool:
        """False for a file whose content nobody has read."""
        return self[0] != FILE or len(self) > HEAD_BYTES

    def is_arrived(self, found: TreeEntry | None) -> bool:
        """Whether `found` is what this was to become on the other side, as far as it is known."""
        if found is None or self[0] != found[0]:
            return False
        if self.is_hashed and found.is_hashed:
            return self.tail == found.tail
        return self[3:19] == found[3:19]  # the same time, which is brought over, and size

    def with_digest(self, digest: bytes) -> TreeEntry:
        """The same file, its content known."""
        return TreeEntry(self[: _HEAD.size] + digest)

    def with_time(self, mtime_ns: int) -> TreeEntry:
        """The same, changed at another time."""
        return TreeEntry(self[:3] + mtime_ns.to_bytes(8, "big", signed=True) + self[11:])

    def with_mode(self, mode: int) -> TreeEntry:
        """The same with other permission bits."""
        return TreeEntry(self[:1] + mode.to_bytes(2, "big") + self[3:])


def is_directory(entry: TreeEntry | None) -> bool:
    """Whether there is something, and it is a directory."""
    return entry is not None and entry.is_directory


def has_mode(entry: TreeEntry | None) -> bool:
    """Whether there is something that has permissions of its own: links have none."""
    return entry is not None and (entry.is_file or entry.is_directory)


def is_meant(known: TreeEntry, old: TreeEntry) -> bool:
    """Whether two entries mean the same content; times and modes may differ where it is known."""
    if known.kind is not old.kind:
        return False
    if old.is_file and not (old.is_hashed and known.is_hashed):
        return (known.size, known.mtime_ns) == (old.size, old.mtime_ns)
    return known.tail == old.tail


def bounded_time(time_ns: int) -> int:
    """The nearest time that an entry can have (1677 to 2262); some filesystems know others."""
    return min(max(time_ns, _TIME_MIN_NS), _TIME_MAX_NS)


def make_file(mode: int, mtime_ns: int, size: int, digest: bytes = b"") -> TreeEntry:
    return TreeEntry(pack_file(mode, mtime_ns, size) + digest)


def pack_file(mode: int, mtime_ns: int, size: int) -> bytes:
    """A file's entry without its digest, which follows."""
    return _HEAD.pack(FILE, mode & MODE_BITS, bounded_time(mtime_ns), size)


def make_directory(mode: int, mtime_ns: int = 0) -> TreeEntry:
    return TreeEntry(_HEAD.pack(DIRECTORY, mode & MODE_BITS, bounded_time(mtime_ns), 0))


def make_link(target: bytes, mtime_ns: int = 0) -> TreeEntry:
    head = _HEAD.pack(LINK, 0o777, bounded_time(mtime_ns), len(target))
    return TreeEntry(head + target)


def make_frozen(kind: Kind, words: str = "") -> TreeEntry:
    """Something that is there and left alone; `words` say why."""
    return TreeEntry(_HEAD.pack(kind, 0, 0, 0) + words.encode("utf-8", "replace")[:_TAIL_BYTES_MAX])


def check_entry(data: object) -> TreeEntry:
    """An entry that came from outside. Raises ProtocolError("sync_entry_refused")."""
    if type(data) is bytes and (data[:2], len(data)) in _PLAIN:
        return TreeEntry(data)  # by far most of a million
    if not isinstance(data, bytes) or not _HEAD.size <= len(data) <= _HEAD.size + _TAIL_BYTES_MAX:
        raise ProtocolError("sync_entry_refused", "an entry has an invalid length")
    entry, tail = TreeEntry(data), len(data) - _HEAD.size
    if not FILE <= entry[0] <= Kind.PROBLEM or entry.mode > MODE_BITS:
        raise ProtocolError("sync_entry_refused", f"an entry of kind {entry[0]}")
    if entry.is_file and tail not in {0, DIGEST_BYTES}:
        raise ProtocolError("sync_entry_refused", f"a digest of {tail} bytes")
    if entry[0] == LINK and not is_link_target(entry.tail):
        raise ProtocolError("sync_entry_refused", "a link that leads nowhere")
    return entry


def are_plain_entries(entries: list[object]) -> bool:
    """Whether all are of files and directories.

    A quick look at all of them at once, for a million; where it says no, each is to be checked.
    """
    if set(map(type, entries)) != {bytes}:
        return False
    packed = [data for data in entries if isinstance(data, bytes)]
    return {(data[:2], len(data)) for data in packed} <= _PLAIN


def is_link_target(target: bytes) -> bool:
    """Whether a link may say this: symlink(2) takes neither nothing nor a NUL."""
    return 0 < len(target) < _TAIL_BYTES_MAX and b"\0" not in target


def essence(entry: TreeEntry | None, mode_mask: int) -> bytes:
    """What makes an entry different for a sync: never its times.

    `mode_mask` is which permission bits count; 0o100 alone means "a program or not". Only of
    entries that are hashed.
    """
    if entry is None:
        return b""
    kind = entry[0]
    if kind == LINK or (kind == DIRECTORY and mode_mask == EXECUTABLE):
        mode_mask = 0
    mode = entry[1] & mode_mask >> 8, entry[2] & mode_mask & 0xFF
    return bytes((kind, *mode)) + entry[_HEAD.size :]
