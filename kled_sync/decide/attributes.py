"""Decides on owners, special permission bits, extended attributes and hard links. No I/O.

They are no part of an entry: a sync that was asked for them compares both sides when the contents
are there. Of a source only what was asked for is used. For each path on which both sides agreed a
mark is kept: a digest of what each side had, since one owner can have two numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from blake3 import blake3

from kled_sync.decide.modes import Mode, SyncSide, Verdict, decide
from kled_sync.tree.entry import MODE_BITS
from kled_sync.tree.packed import PackableEntry
from kled_sync.tree.paths import check_path
from kled_wire.errors import ProtocolError

# `RootOpened.facts` of an endpoint that knows the messages and operations for these.
FACT: Final = "attributes"
# The same of one that tells of paths whose attributes may have changed alone.
FACT_TOLD: Final = "touched"
# The same of one that keeps what it changes for `undo`, where it is asked to.
FACT_KEEPS: Final = "keeps_attributes"
USER_XATTRS: Final = b"user."
# These attributes decide who may do what, so they need root at both ends (xattr(7), acl(5)).
_ACLS: Final = (b"system.posix_acl_access", b"system.posix_acl_default")
ROOT_XATTRS: Final = (b"security.", *_ACLS)
# The kernel's limits are 255 and 64 KiB (xattr(7)); of one file no more than this is brought over.
_XATTR_NAME_BYTES_MAX: Final = 255
XATTR_BYTES_MAX: Final = 64 * 1024
FILE_XATTRS_BYTES_MAX: Final = 256 * 1024
_PERMISSIONS: Final = 0o777
_NAME_MAX: Final = 256
_ID_MAX: Final = 2**32 - 2
_ROW_TYPES: Final = (bytes, int, int, int, int, str, str, list, str)
_CHANGE_TYPES: Final = (bytes, int, int, int, str, str, list, bool)
_KEEPING_TYPES: Final = (*_CHANGE_TYPES, bool)
# Among the letters of a path: it becomes another name of a file that is there.
LINKED: Final = "h"
# Instead of a mode or a number: it stays as it is.
KEEP: Final = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class AttributeWish:
    """What a copy brings over besides contents, permissions and times."""

    owner: bool = False
    group: bool = False
    numeric_ids: bool = False
    # The setuid, setgid and sticky bits.
    special: bool = False
    xattrs: bool = False
    hard_links: bool = False

    @property
    def sets_attributes(self) -> bool:
        """Whether something is to be compared besides hard links."""
        return self.owner or self.group or self.special or self.xattrs


NOTHING: Final = AttributeWish()
_MARK_BYTES: Final = 16
# Stands in place of a side's digest for any value; no digest equals it.
_PLACED: Final = bytes(_MARK_BYTES)
_OTHER: Final = b"\xff" * _MARK_BYTES


class AttributeMark(PackableEntry):
    """Digests of the attributes of one path, on alpha and on beta, when both sides agreed."""

    __slots__ = ()

    @property
    def is_directory(self) -> bool:
        return False

    def has(self, side: SyncSide, digest: bytes) -> bool:
        """Whether `side` still has the attributes that it had then, or is owed some."""
        at = 0 if side is SyncSide.ALPHA else _MARK_BYTES
        return self[at : at + _MARK_BYTES] in {digest, _PLACED}


def owed_mark(side: SyncSide) -> AttributeMark:
    """The mark of a path whose content comes to `side`, until the attributes have come too."""
    return AttributeMark(_OTHER + _PLACED if side is SyncSide.BETA else _PLACED + _OTHER)


def check_mark(data: bytes) -> AttributeMark:
    """Raises ProtocolError."""
    if len(data) != 2 * _MARK_BYTES:
        raise ProtocolError("sync_entry_refused", "an attribute mark of another length")
    return AttributeMark(data)


class FileAttributes(NamedTuple):
    """The attributes of one path; the names of one file share `link`, 0 where there is but one.

    `trouble` says why they are not known.
    """

    path: bytes
    link: int
    mode: int
    uid: int
    gid: int
    user: str
    group: str
    xattrs: dict[bytes, bytes]
    trouble: str = ""

    def row(self) -> tuple[Any, ...]:
        """As `AttributesFound` has it."""
        return (*self[:7], _flat(self.xattrs), self.trouble)


class AttributesToSet(NamedTuple):
    """What a path is to get: `KEEP` for a number, no name where the number counts.

    With `sets_xattrs` it has afterwards just those of `xattrs`, of the kinds its user may set. With
    `keeps` what it had is kept for `undo`.
    """

    path: bytes
    mode: int
    uid: int
    gid: int
    user: str
    group: str
    xattrs: dict[bytes, bytes]
    sets_xattrs: bool
    keeps: bool = False

    def row(self) -> tuple[Any, ...]:
        """As `SetAttributes` has it."""
        row = (*self[:6], _flat(self.xattrs), self.sets_xattrs)
        return (*row, True) if self.keeps else row


def parse_attributes(row: tuple[Any, ...]) -> FileAttributes:
    """What an endpoint says. Raises ProtocolError."""
    if tuple(map(type, row)) != _ROW_TYPES:
        raise _refused()
    path, link, mode, uid, gid, user, group, xattrs, trouble = row
    _check_numbers(mode, uid, gid, lowest=0)
    if not 0 <= link < 2**64 or max(len(user), len(group)) > _NAME_MAX:
        raise _refused()
    found = _parse_xattrs(xattrs)
    return FileAttributes(
        check_path(path), link, mode, uid, gid, user, group, found, trouble[:_NAME_MAX]
    )


def parse_change(row: tuple[Any, ...]) -> AttributesToSet:
    """What a session wants. Raises ProtocolError."""
    if tuple(map(type, row)) not in {_CHANGE_TYPES, _KEEPING_TYPES}:
        raise _refused()
    path, mode, uid, gid, user, group, xattrs, sets_xattrs, *keeps = row
    _check_numbers(mode, uid, gid, lowest=KEEP)
    if max(len(user), len(group)) > _NAME_MAX:
        raise _refused()
    found = _parse_xattrs(xattrs)
    return AttributesToSet(
        check_path(path), mode, uid, gid, user, group, found, sets_xattrs, *keeps
    )


def is_xattr(name: bytes, *, is_root: bool) -> bool:
    """Whether a sync reads and writes the extended attribute `name`."""
    return name.startswith(USER_XATTRS) or (is_root and name.startswith(ROOT_XATTRS))


def change_of(
    wish: AttributeWish, source: FileAttributes, target: FileAttributes, *, permissions: bool
) -> AttributesToSet | None:
    """What makes `target` like `source`; None where it is. `permissions`: they are copied."""
    mode = target.mode
    if permissions:
        kept = 0 if wish.special else target.mode & ~_PERMISSIONS
        mode = source.mode & (MODE_BITS if wish.special else _PERMISSIONS) | kept
    user, group = ("", "") if wish.numeric_ids else (source.user, source.group)
    # The superuser is not another one because of its name.
    user = user if source.uid else ""
    group = group if source.gid else ""
    owner = wish.owner and _differs(source.uid, user, target.uid, target.user)
    groups = wish.group and _differs(source.gid, group, target.gid, target.group)
    xattrs = wish.xattrs and source.xattrs != target.xattrs
    if not (owner or groups or xattrs or mode != target.mode):
        return None
    return AttributesToSet(
        source.path,
        # Other owners take the special bits away (chown(2)).
        mode if permissions else KEEP,
        source.uid if owner else KEEP,
        source.gid if groups else KEEP,
        user,
        group,
        # A new owner takes away the capabilities of a program.
        source.xattrs if wish.xattrs else {},
        wish.xattrs,
    )


def digest_of(wish: AttributeWish, found: FileAttributes) -> bytes:
    """A digest (16 bytes) of those attributes of a path that `wish` names."""
    numbers = (
        found.mode & ~_PERMISSIONS if wish.special else 0,
        found.uid if wish.owner else 0,
        found.gid if wish.group else 0,
    )
    parts = [b"%d %d %d" % numbers, *(_flat(found.xattrs) if wish.xattrs else ())]
    hasher = blake3()
    for part in parts:
        hasher.update(len(part).to_bytes(4, "big") + part)
    return hasher.digest(_MARK_BYTES)


def mark_of(wish: AttributeWish, alpha: FileAttributes, beta: FileAttributes) -> AttributeMark:
    return AttributeMark(digest_of(wish, alpha) + digest_of(wish, beta))


def verdict_on(
    mode: Mode,
    wish: AttributeWish,
    found: tuple[FileAttributes, FileAttributes],
    mark: AttributeMark | None,
    *,
    permissions: bool,
) -> Verdict:
    """What becomes of attributes that alpha and beta have, by the mode of a continuous sync.

    `LEAVE` where neither side has changed since they were agreed to differ: one cannot have what
    the other has.
    """
    alpha, beta = found
    if change_of(wish, alpha, beta, permissions=permissions) is None:
        return Verdict.SAME
    if mark is None:
        return decide(mode, b"alpha's", b"beta's", b"")
    agreed = b"agreed"
    one = agreed if mark.has(SyncSide.ALPHA, digest_of(wish, alpha)) else b"alpha's"
    other = agreed if mark.has(SyncSide.BETA, digest_of(wish, beta)) else b"beta's"
    verdict = decide(mode, one, other, agreed)
    return Verdict.LEAVE if verdict is Verdict.SAME else verdict


def letters(change: AttributesToSet, target: FileAttributes) -> str:
    """What differs, by the letters of rsync's --itemize-changes."""
    found = "p" if change.mode not in {KEEP, target.mode} else ""
    found += "o" if change.uid != KEEP else ""
    found += "g" if change.gid != KEEP else ""
    changed: set[bytes] = set()
    if change.sets_xattrs:
        changed = {name for name, _ in change.xattrs.items() ^ target.xattrs.items()}
    acls = {name for name in changed if name.startswith(_ACLS)}
    return found + ("a" if acls else "") + ("x" if changed - acls else "")


def leaders(found: Iterable[FileAttributes], there: AbstractSet[bytes]) -> dict[bytes, bytes]:
    """For each path that is one file with another, the first of those; for that one itself too.

    Those go first that are `there`: at the destination already, as they are to be.
    """
    groups: dict[int, list[bytes]] = {}
    for attributes in found:
        if attributes.link:
            groups.setdefault(attributes.link, []).append(attributes.path)
    return {
        path: min(paths, key=lambda path: (path not in there, _order(path)))
        for paths in groups.values()
        if len(paths) > 1
        for path in paths
    }


def _order(path: bytes) -> list[tuple[bool, bytes]]:
    """As rsync goes through a tree: the files of a directory before what is further down."""
    *above, name = path.split(b"/")
    return [*((True, part) for part in above), (False, name)]


def _differs(number: int, name: str, there: int, name_there: str) -> bool:
    if name and name_there:
        return name != name_there
    return number != there


def _flat(xattrs: dict[bytes, bytes]) -> list[bytes]:
    return [part for pair in sorted(xattrs.items()) for part in pair]


def _parse_xattrs(flat: Sequence[object]) -> dict[bytes, bytes]:
    parts = [part for part in flat if isinstance(part, bytes)]
    if len(parts) != len(flat) or len(parts) % 2:
        raise _refused()
    names, values = parts[::2], parts[1::2]
    if (
        not all(_is_name(name) for name in names)
        or max(map(len, values), default=0) > XATTR_BYTES_MAX
    ):
        raise _refused()
    if sum(map(len, parts)) > FILE_XATTRS_BYTES_MAX:
        raise _refused()
    return dict(zip(names, values, strict=True))


def _is_name(name: bytes) -> bool:
    known = is_xattr(name, is_root=True)
    return known and len(name) <= _XATTR_NAME_BYTES_MAX and b"\0" not in name


def _check_numbers(mode: int, *ids: int, lowest: int) -> None:
    if not lowest <= mode <= MODE_BITS or not all(lowest <= number <= _ID_MAX for number in ids):
        raise _refused()


def _refused() -> ProtocolError:
    return ProtocolError("sync_message_refused", "invalid attributes")
