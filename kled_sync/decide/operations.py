"""The operations for one side, divided into jobs. No I/O.

The operations of a job are made durable and renamed together. Jobs of one step may run at the same
time; steps run in order: first they remove what blocks new files, then they create, then they
delete the rest, so that a moved file exists at every moment. Of many new files those of a new
directory come in one job with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NamedTuple

from kled_sync.decide.gathering import find_tops, in_tree_order
from kled_sync.decide.reconcile import PathChange
from kled_sync.tree.entry import FILE, TreeEntry, is_directory
from kled_sync.tree.paths import ROOT, is_below, split
from kled_sync.tree.tree import Tree
from kled_sync.wire.filled import FILE_BYTES, FILES_MAX, NO_FILES, NewFiles

JOB_OPERATIONS: Final = FILES_MAX
JOB_BYTES: Final = 16 * 1024 * 1024
# From here on a file is worth looking for elsewhere on the same side before it is sent.
REUSE_BYTES: Final = 64 * 1024
# With more files than this the order of the directories counts for more than who was saved last.
_NEWEST_FIRST: Final = 1000
# The permissions of a directory in which its owner may do everything.
_OPEN: Final = 0o700


class Do(IntEnum):
    """What an operation does. `CONTENT` alone waits for bytes from the other side."""

    MAKE_DIRECTORY = 1
    CONTENT = 2
    REUSE = 3  # the content of another file of this side, at `source`
    LINK = 4
    REMOVE = 5  # `source` is its own path where a directory takes its place
    REMOVE_DIRECTORY = 6
    DRESS = 7  # mode and times alone
    HARD_LINK = 8  # another name for the file of this side at `source`
    MOVE = 9  # the directory at `source`, and all in it; `old` has the digest of that


class Operation(NamedTuple):
    """`old` is what must be there for it to be done."""

    do: Do
    path: bytes
    new: TreeEntry | None
    old: TreeEntry | None
    source: bytes = b""
    # The files that a new directory comes with.
    files: NewFiles = NO_FILES

    @property
    def weight(self) -> int:
        """How much it adds to a job."""
        return 1 + len(self.files.names)

    @property
    def arriving(self) -> int:
        """How many files and links it makes."""
        own = self.new is not None and not self.new.is_directory
        return own + len(self.files.names)


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncJob:
    """Operations for one side, and how many bytes of content they wait for."""

    operations: Sequence[Operation]
    content_bytes: int = 0


def unread_worth_reading(actions: Sequence[PathChange], target: Tree) -> list[bytes]:
    """New files whose content may be on the target's side already: their paths at the source."""
    unread = [a for a in actions if a.new is not None and not a.new.is_hashed]
    if not unread:
        return []
    gone = {a.old.size for a in actions if a.new is None and a.old is not None and a.old.is_file}
    gone.discard(0)
    sizes: set[int] = set()
    if any(a.new is not None and a.old is None and _may_be_copied(a.new) for a in unread):
        sizes = {entry.size for _, entry in target.walk() if _may_be_copied(entry)}
    wanted = gone | sizes
    if not wanted:
        return []
    return [a.path for a in unread if a.new is not None and a.new.size in wanted]


def _may_be_copied(entry: TreeEntry) -> bool:
    return entry.is_file and entry.size >= REUSE_BYTES


def plan(
    actions: Sequence[PathChange],
    target: Tree,
    moved: Sequence[PathChange] = (),
    *,
    fills: bool = False,
) -> list[list[SyncJob]]:
    """The steps that bring `actions` about on the side whose tree is `target`.

    `fills` says whether new directories may come with their files as one operation.
    `moved` was done to it before: directories that were changed by that get back their times.
    """
    new_files, others = _part(actions)
    blocked = [a.path for a in others if _is_in_the_way(a)]
    find = _finder(new_files, others, target, blocked)
    directories, contents, tops = _arrivals(new_files, others, find, fills=fills)
    first = [*_make_way(others, blocked), *directories]
    last = [
        operation
        for operation in _removals(others)
        if not any(is_below(operation.path, path) for path in blocked)
    ]
    above = {*new_files, *(split(a.path)[0] for a in (*others, *moved) if a.path)}
    dressing = list(_dressing(others, above, target))
    steps = [portions(first), portions(contents, tops), portions(last), portions(dressing)]
    return [step for step in steps if step]


def _arrivals(
    new_files: Mapping[bytes, Sequence[PathChange]],
    others: Sequence[PathChange],
    find: Callable[[TreeEntry], bytes | None],
    *,
    fills: bool,
) -> tuple[list[Operation], list[Operation], Mapping[bytes, bytes]]:
    """The directories to make first, then the contents in their order, and the `find_tops` of both.

    Where much arrives, a new directory may be among the contents, with its small files.
    """
    directories = sorted(
        (_new_directory(a) for a in others if is_directory(a.new) and not is_directory(a.old)),
        key=lambda operation: operation.path,
    )
    arriving = [a for a in others if a.new is not None and not a.new.is_directory]
    many = len(arriving) + sum(map(len, new_files.values())) > _NEWEST_FIRST
    new = [o.path for o in directories if many and o.path != ROOT]
    small, single = _small_files(new if fills else [], new_files, find)
    contents = [_arrive(a, find) for a in (*arriving, *single)]
    sizes = {o.path: _content_bytes(o) for o in contents}
    large = {path for path, size in sizes.items() if size > JOB_BYTES // 4}
    # Large files are sent last, so their directories are made before.
    sizes |= dict.fromkeys(large, JOB_BYTES + 1)
    files = {path: _new_files(path, small.get(path, ())) for path in new}
    tops = find_tops(files, sizes.items(), JOB_OPERATIONS, JOB_BYTES)
    contents += [_arrive(a, find) for path in small if path not in tops for a in small[path]]
    contents += [o._replace(files=files[o.path]) for o in directories if o.path in tops]
    ordered = _in_tree_order(contents, large) if many else _newest_first(contents)
    return [o for o in directories if o.path not in tops], ordered, tops


def _part(
    actions: Iterable[PathChange],
) -> tuple[dict[bytes, list[PathChange]], list[PathChange]]:
    """Files where nothing was, by the directory that they are in, and all other actions.

    There may be a million of the former: each is looked at as seldom as can be.
    """
    new_files: dict[bytes, list[PathChange]] = {}
    others = []
    for action in actions:
        _, path, new, old = action
        if old is None and new is not None and new[0] == FILE:
            new_files.setdefault(path.rpartition(b"/")[0], []).append(action)
        else:
            others.append(action)
    return new_files, others


def _small_files(
    directories: Iterable[bytes],
    new_files: Mapping[bytes, Sequence[PathChange]],
    find: Callable[[TreeEntry], bytes | None],
) -> tuple[dict[bytes, list[PathChange]], list[PathChange]]:
    """Part new files: the small ones in each of the new `directories`, and the rest."""
    small: dict[bytes, list[PathChange]] = {path: [] for path in directories}
    rest: list[PathChange] = []
    for directory, inside in new_files.items():
        own = small.get(directory)
        for action in inside:
            new = action.new
            assert new is not None
            is_small = own is not None and new.size < FILE_BYTES and find(new) is None
            (own if own is not None and is_small else rest).append(action)
    return small, rest


def _new_files(directory: bytes, actions: Sequence[PathChange]) -> NewFiles:
    start = len(directory) + 1
    names = tuple(sorted(action.path[start:] for action in actions))
    return NewFiles(names, sum(action.new.size for action in actions if action.new is not None))


def is_last(operation: Operation, action: PathChange) -> bool:
    """Whether nothing of the action is to be done after it.

    What is in the way goes before, and a new directory is open until all that comes is in it.
    """
    new, wanted = operation.new, action.new
    if new is None or wanted is None:
        return new is wanted
    return new.mode == wanted.mode


def _dressing(
    actions: Sequence[PathChange],
    above: AbstractSet[bytes],
    target: Tree,
) -> Iterator[Operation]:
    """What can be done to directories only when nothing is to be put into them any more.

    One of `above` that nobody changed, but in which something was done, gets back the time it had.
    """
    own = {a.path for a in actions}
    for action in actions:
        new = action.new
        if new is None or not new.is_directory:
            continue
        if is_directory(action.old):
            yield Operation(Do.DRESS, action.path, new, action.old)
        elif new.mode & _OPEN != _OPEN or new.mtime_ns:
            yield Operation(Do.DRESS, action.path, new, None)
    for path in sorted(above - own):
        entry = target.get(path)
        if entry is not None and entry.is_directory and entry.mtime_ns:
            yield Operation(Do.DRESS, path, entry, None)


def _is_in_the_way(action: PathChange) -> bool:
    new, old = action.new, action.old
    return new is not None and old is not None and new.is_directory is not old.is_directory


def _make_way(actions: Sequence[PathChange], blocked: Sequence[bytes]) -> Iterator[Operation]:
    """Take away directories where a file is to be, and what is in them; and the reverse."""
    if not blocked:
        return
    tops = [a for a in actions if _is_in_the_way(a)]
    inside = [a for a in actions if a.new is None and any(is_below(a.path, b) for b in blocked)]
    yield from _removals(inside)
    for action in sorted(tops, key=lambda a: a.path, reverse=True):
        assert action.old is not None
        do = Do.REMOVE_DIRECTORY if action.old.is_directory else Do.REMOVE
        yield Operation(do, action.path, None, action.old, action.path)


def _new_directory(action: PathChange) -> Operation:
    assert action.new is not None
    opened = action.new.with_mode(action.new.mode | _OPEN)
    return Operation(Do.MAKE_DIRECTORY, action.path, opened, None)


def _removals(actions: Iterable[PathChange]) -> list[Operation]:
    """Deepest first, so that directories are empty when their turn comes."""
    gone = [a for a in actions if a.new is None and a.old is not None]
    files = [a for a in gone if a.old is not None and not a.old.is_directory]
    directories = [a for a in gone if a.old is not None and a.old.is_directory]
    return [Operation(Do.REMOVE, a.path, None, a.old) for a in files] + [
        Operation(Do.REMOVE_DIRECTORY, a.path, None, a.old)
        for a in sorted(directories, key=lambda a: a.path, reverse=True)
    ]


def _finder(
    new_files: Mapping[bytes, Sequence[PathChange]],
    others: Sequence[PathChange],
    target: Tree,
    blocked: Sequence[bytes],
) -> Callable[[TreeEntry], bytes | None]:
    """What finds a file of the target's that has some content already, where that stays for now.

    Among those that are to go, and for large new ones everywhere: going through a whole tree for a
    small save would cost more than to send it.
    """
    found = {
        a.old.tail: a.path
        for a in others
        if a.new is None and a.old is not None and a.old.is_file and a.old.is_hashed and a.old.size
        if not any(is_below(a.path, top) for top in blocked)
    }
    wanted = {
        a.new.tail
        for inside in new_files.values()
        for a in inside
        if a.new is not None and a.new.is_hashed and _may_be_copied(a.new)
    }
    if wanted - found.keys():
        touched = {a.path for a in others if a.new is not None and a.old is not None}
        for path, entry in target.walk():
            if (
                _may_be_copied(entry)
                and entry.tail in wanted
                and path not in touched
                and not any(is_below(path, top) for top in blocked)
            ):
                found.setdefault(entry.tail, path)
    if not found:
        return lambda _: None
    return lambda entry: found.get(entry.tail) if entry.is_hashed and entry.size else None


def _arrive(action: PathChange, find: Callable[[TreeEntry], bytes | None]) -> Operation:
    new = action.new
    assert new is not None
    if action.old is None and new.is_file and not new.is_hashed:
        return Operation(Do.CONTENT, action.path, new, None)
    old = None if action.old is not None and action.old.is_directory else action.old
    if not new.is_file:
        return Operation(Do.LINK, action.path, new, old)
    if old is not None and old.is_file and new.is_hashed and old.tail == new.tail:
        return Operation(Do.DRESS, action.path, new, old)
    source = find(new)
    if source is not None:
        return Operation(Do.REUSE, action.path, new, old, source)
    return Operation(Do.CONTENT, action.path, new, old)


def _newest_first(contents: list[Operation]) -> list[Operation]:
    """The order for a few: the file that was saved last comes first."""
    return sorted(contents, key=lambda o: -o.new.mtime_ns if o.new is not None else 0)


def _in_tree_order(arriving: list[Operation], large: AbstractSet[bytes]) -> list[Operation]:
    """The order for many: small before large, then in the order of the tree."""
    by_path = sorted(arriving, key=lambda o: in_tree_order(o.path))
    return sorted(by_path, key=lambda o: o.path in large) if large else by_path


def portions(
    operations: Iterable[Operation], tops: Mapping[bytes, bytes] | None = None
) -> list[SyncJob]:
    """The same operations, in order, as jobs; what is in a directory of `tops` comes with it."""
    jobs: list[SyncJob] = []
    portion: list[Operation] = []
    size = weight = 0
    for unit in _units(operations, tops or {}):
        add, more = sum(map(_content_bytes, unit)), sum(o.weight for o in unit)
        if portion and (weight + more > JOB_OPERATIONS or size + add > JOB_BYTES):
            jobs.append(SyncJob(operations=tuple(portion), content_bytes=size))
            portion, size, weight = [], 0, 0
        portion += unit
        size += add
        weight += more
    if portion:
        jobs.append(SyncJob(operations=tuple(portion), content_bytes=size))
    return jobs


def _units(
    operations: Iterable[Operation], tops: Mapping[bytes, bytes]
) -> Iterator[list[Operation]]:
    """What no two jobs share: a topmost directory with all below it, or one operation."""
    unit: list[Operation] = []
    unit_top: bytes | None = None
    for operation in operations:
        top = None
        if tops:
            top = tops.get(operation.path) or tops.get(split(operation.path)[0])
        if unit and (top is None or top != unit_top):
            yield unit
            unit = []
        unit.append(operation)
        unit_top = top
    if unit:
        yield unit


def _content_bytes(operation: Operation) -> int:
    if operation.do is Do.CONTENT and operation.new is not None:
        return operation.new.size
    return operation.files.size
