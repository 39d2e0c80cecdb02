"""Directories that are renamed as one, and those that are not."""

from __future__ import annotations

import pytest

from kled_sync.decide.modes import SyncSide
from kled_sync.decide.moves import find_moves, find_renamed
from kled_sync.decide.operations import Do
from kled_sync.decide.reconcile import PathChange
from kled_sync.tree.entry import EXECUTABLE, Kind, TreeEntry, make_directory, make_file, make_frozen
from kled_sync.tree.paths import is_below
from kled_sync.tree.subtree import content_digest
from kled_sync.tree.tree import Tree

DIRECTORY = make_directory(0o755)
Files = dict[bytes, TreeEntry]


def file(content: str, mtime_ns: int = 5) -> TreeEntry:
    return make_file(0o644, mtime_ns, 1, content.encode().ljust(32, b"."))


def tree_of(files: Files) -> Tree:
    tree = Tree()
    tree.root = DIRECTORY
    for path, entry in files.items():
        parts = path.split(b"/")
        for depth in range(1, len(parts)):
            tree.put(b"/".join(parts[:depth]), DIRECTORY)
        tree.put(path, entry)
    return tree


def changes(target: Tree, wanted: Tree) -> list[PathChange]:
    here, there = dict(target.walk()), dict(wanted.walk())
    return [
        PathChange(SyncSide.BETA, path, there.get(path), here.get(path))
        for path in {**here, **there}
        if here.get(path) != there.get(path)
    ]


def moves(before: Files, after: Files) -> list[tuple[bytes, bytes]]:
    target = tree_of(before)
    found = list(find_moves(changes(target, tree_of(after)), target, EXECUTABLE))
    return [(move.source, move.path) for move in found]


TWO: Files = {b"d/f": file("1"), b"d/e/g": file("2")}


def test_a_directory_is_moved_with_all_that_is_in_it() -> None:
    target = tree_of({**TWO, b"other": file("3")})
    wanted = tree_of({b"new/m/f": file("1"), b"new/m/e/g": file("2"), b"other": file("3")})
    (move,) = find_moves(changes(target, wanted), target, EXECUTABLE)
    digest = content_digest(b"d", target.directories.packed)
    assert [(o.do, o.path, o.source) for o in move.operations] == [
        (Do.MAKE_DIRECTORY, b"new", b""), (Do.MOVE, b"new/m", b"d"),
    ]  # fmt: skip
    assert move.operations[-1].old == DIRECTORY.with_digest(digest or b"")
    paths = {action.path for action in move.actions}
    assert len(paths) == 8
    assert all(p in {b"d", b"new/m"} or is_below(p, b"d") or is_below(p, b"new/m") for p in paths)


@pytest.mark.parametrize(
    "after",
    [
        {b"m/f": file("1"), b"m/e/g": file("changed")},
        {b"m/f": file("1", mtime_ns=6), b"m/e/g": file("2")},
        {b"m/f": file("1").with_mode(0o755), b"m/e/g": file("2")},
        {b"m/f": file("1"), b"m/e/g": file("2"), b"m/more": file("3")},
        {b"m/f": file("1"), b"m/e/g": file("2"), b"d/f": file("1")},
        {b"m/f": make_file(0o644, 5, 1), b"m/e/g": file("2")},
    ],
    ids=["content", "time", "program", "one more", "one stays", "not read"],
)
def test_what_is_not_all_the_same_is_not_moved_as_one(after: Files) -> None:
    assert (b"d", b"m") not in moves(TWO, after)


def test_what_is_the_same_within_a_directory_that_is_not_is_moved() -> None:
    assert moves(TWO, {b"m/f": file("changed"), b"m/e/g": file("2")}) == [(b"d/e", b"m/e")]


def test_nothing_is_moved_that_is_not_synced() -> None:
    ignored = make_frozen(Kind.IGNORED)
    assert moves({**TWO, b"d/tmp": ignored}, {b"m/f": file("1"), b"m/e/g": file("2")}) == [
        (b"d/e", b"m/e")
    ]


def test_of_two_that_are_alike_each_is_moved_once() -> None:
    before = {b"a/x/f": file("1"), b"b/x/f": file("1")}
    after = {b"c/x/f": file("1"), b"d/x/f": file("1"), b"e/x/f": file("1")}
    assert sorted(moves(before, after)) == [(b"a", b"c"), (b"b", b"d")]


def test_into_what_is_a_file_here_nothing_is_moved() -> None:
    assert moves({**TWO, b"p": file("3")}, {b"p/m/f": file("1"), b"p/m/e/g": file("2")}) == []


def renamed(source: Files, target: Files, agreed: Files) -> list[tuple[bytes, bytes]]:
    here, there, before = tree_of(source), tree_of(target), tree_of(agreed)
    changed = {*here.directories, *there.directories, *before.directories}
    found = list(find_renamed(changed, here, there, before, SyncSide.BETA))
    for move in found:
        # It is what would have been found of each path in it.
        (other,) = find_moves(changes(there, here), there, EXECUTABLE)
        assert move.operations == other.operations
        assert set(move.told) == set(other.told)
    return [(move.source, move.path) for move in found]


MOVED: Files = {b"m/f": file("1"), b"m/e/g": file("2")}
OTHER: Files = {b"x/y": file("3")}


@pytest.mark.parametrize(
    ("source", "target", "agreed", "wanted"),
    [
        (MOVED, TWO, TWO, [(b"d", b"m")]),
        (MOVED | OTHER, TWO | OTHER, TWO | OTHER, [(b"d", b"m")]),
        # Nothing was agreed, it was agreed already, or the target has something else.
        (MOVED, TWO, {}, []),
        (MOVED, MOVED, TWO, []),
        (MOVED, TWO | {b"m/f": file("1")}, TWO, []),
        (MOVED, {**TWO, b"d/f": file("new")}, TWO, []),
        (MOVED, {**TWO, b"d/more": file("1")}, TWO, []),
        (MOVED, {b"d/f": file("1")}, TWO, []),
        (MOVED, {}, TWO, []),
        (MOVED, {b"n" + name[1:]: entry for name, entry in TWO.items()}, TWO, []),
        # What came is not what went: another content, time or name, one more, one less, a copy.
        ({**MOVED, b"m/f": file("new")}, TWO, TWO, []),
        ({**MOVED, b"m/e/g": file("2", mtime_ns=6)}, TWO, TWO, []),
        ({b"m/f": file("1"), b"m/e/h": file("2")}, TWO, TWO, []),
        ({**MOVED, b"m/more": file("1")}, TWO, TWO, []),
        ({b"m/f": file("1")}, TWO, TWO, []),
        ({**MOVED, b"m/socket": make_frozen(Kind.OTHER)}, TWO, TWO, []),
        (MOVED | TWO, TWO, TWO, []),
        # Something else took its place.
        (MOVED | {b"d": file("1")}, TWO, TWO, []),
        # It came into what is new itself.
        ({b"n/" + name: entry for name, entry in MOVED.items()}, TWO, TWO, []),
    ],
)
def test_a_rename_is_found_before_each_path_is_decided_on(
    source: Files, target: Files, agreed: Files, wanted: list[tuple[bytes, bytes]]
) -> None:
    assert renamed(source, target, agreed) == wanted
