"""Directories that a side has under another name already: they are renamed there as one. No I/O.

A directory is moved so only where all that is in it goes, and the same comes elsewhere: names,
contents, modes and times of files. All else is left to the operations on single files.

The most common move is found before each path in it is decided on: one side has renamed a directory
that is otherwise the same in all three trees.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from kled_sync.decide.modes import SyncSide
from kled_sync.decide.operations import Do, Operation
from kled_sync.decide.reconcile import PathChange
from kled_sync.tree.entry import DIRECTORY, IGNORED, TreeEntry, essence, is_directory
from kled_sync.tree.paths import ROOT, join, split
from kled_sync.tree.subtree import Digests, content_digest, digest_below
from kled_sync.tree.tree import Tree


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryMove:
    """`operations` end with the move; the ones before it make what it is moved into."""

    operations: Sequence[Operation]
    # The changes of both names, and of all paths in them that were decided on.
    actions: Sequence[PathChange]

    @property
    def told(self) -> list[PathChange]:
        """Those of `actions` that say it all: of the directory itself."""
        return [action for action in self.actions if action.path in {self.path, self.source}]

    @property
    def source(self) -> bytes:
        return self.operations[-1].source

    @property
    def path(self) -> bytes:
        return self.operations[-1].path


def find_moves(
    actions: Sequence[PathChange], target: Tree, mode_mask: int
) -> Iterator[DirectoryMove]:
    """The moves among `actions` of one side, whose tree is `target`; each of other directories."""
    by_path = {action.path: action for action in actions}
    gone = [a.path for a in actions if a.new is None and is_directory(a.old)]
    made = sorted(a.path for a in actions if a.old is None and is_directory(a.new))
    if not gone or not made:
        return

    def mark(path: bytes, entry: TreeEntry) -> bytes | None:
        action = by_path.get(path)
        if action is None or entry[0] >= IGNORED or not entry.is_hashed:
            return None
        return essence(entry, mode_mask) + entry[3:11]  # the time

    by_digest = defaultdict[bytes, list[bytes]](list)
    known: Digests = {}
    for path in gone:
        digest = digest_below(path, target.children, mark, known)
        if digest is not None and target.children(path):
            by_digest[digest].append(path)
    coming, known = _coming(actions), {}
    moved: set[bytes] = set()
    broken: set[bytes] = set()  # something of these moved, so that they are not what they were
    for path in made:
        digest = digest_below(path, coming.children, mark, known)
        if digest is None or not moved.isdisjoint(_with_above(path)):
            continue
        free = (s for s in by_digest.get(digest, ()) if s not in broken)
        source = next((s for s in free if moved.isdisjoint(_with_above(s))), None)
        operations = list(_above(path, by_path, target))
        if source is None or any(o.new is None for o in operations):
            continue
        moved |= {path, source}
        broken.update(_with_above(source))
        operations.append(_move(source, path, coming, target))
        inside = [p for tree, top in ((coming, path), (target, source)) for p, _ in tree.walk(top)]
        yield DirectoryMove(operations=operations, actions=[by_path[p] for p in inside])


def find_renamed(
    changed: Iterable[bytes], source: Tree, target: Tree, agreed: Tree, side: SyncSide
) -> Iterator[DirectoryMove]:
    """The directories that `source` alone has renamed; they and where they were are in `changed`.

    `side` is that of `target`, which has them as they were agreed on.
    """
    looked_at = sorted(set(changed))
    made = [path for path in looked_at if _came(path, source, target, agreed)]
    if not made:
        return
    gone = [
        path
        for directory in looked_at
        if is_directory(agreed.get(directory))
        for name, entry in agreed.children(directory).items()
        if entry.is_directory
        and _came(path := join(directory, name), agreed, source, source)
        and is_directory(target.get(path))
    ]
    for path in made:
        found = [s for s in gone if _is_same(source, path, agreed, s)]
        digest = content_digest(path, source.directories.packed) if found else None
        if digest is None or not source.directories.size(path):
            continue
        old = found[0]
        if not _is_same(target, old, agreed, old):
            continue
        gone.remove(old)
        new, was = source.get(path), target.get(old)
        assert new is not None
        assert was is not None
        told = PathChange(side, path, new, None), PathChange(side, old, None, was)
        move = Operation(Do.MOVE, path, new, was.with_digest(digest), old)
        yield DirectoryMove(operations=[move], actions=told)


def _came(path: bytes, here: Tree, one: Tree, other: Tree) -> bool:
    """Whether only `here` has a directory at `path`, in a directory that all three trees have."""
    if path == ROOT or not is_directory(here.get(path)):
        return False
    above = split(path)[0]
    return all(tree.get(path) is None and is_directory(tree.get(above)) for tree in (one, other))


def _is_same(one: Tree, path: bytes, other: Tree, there: bytes) -> bool:
    """Whether two directories have equal entries, at every depth."""
    mine, theirs = one.directories.packed(path), other.directories.packed(there)
    if mine is not theirs and mine != theirs:
        return False
    return all(
        _is_same(one, join(path, name), other, join(there, name))
        for name, entry in mine.items()
        if entry[0] == DIRECTORY
    )


def _coming(actions: Sequence[PathChange]) -> Tree:
    """What is new, by itself."""
    tree = Tree()
    for action in actions:
        if action.new is not None and action.old is None and action.path != ROOT:
            tree.directories.put(*split(action.path), action.new)
    return tree


def _with_above(path: bytes) -> Iterator[bytes]:
    """`path` and the directories it is in, without the root."""
    while path != ROOT:
        yield path
        path = split(path)[0]


def _above(path: bytes, by_path: dict[bytes, PathChange], target: Tree) -> Iterator[Operation]:
    """What makes the directories that are missing above `path`, from the top down."""
    missing = [p for p in _with_above(split(path)[0]) if not is_directory(target.get(p))]
    for directory in reversed(missing):
        action = by_path.get(directory)
        new = action.new if action is not None and action.old is None else None
        yield Operation(Do.MAKE_DIRECTORY, directory, new, None)


def _move(source: bytes, path: bytes, coming: Tree, target: Tree) -> Operation:
    new, old = coming.get(path), target.get(source)
    digest = content_digest(source, target.directories.packed)
    assert new is not None
    assert old is not None
    assert digest is not None
    return Operation(Do.MOVE, path, new, old.with_digest(digest), source)
