"""Packed directories are what dicts of dicts are, whatever is packed when."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from kled_sync.tree import directories
from kled_sync.tree.directories import Directories
from kled_sync.tree.entry import TreeEntry, make_directory, make_file, make_link
from kled_sync.tree.packed import PackedEntries

NAMES = st.sampled_from([b"a", b"b", b"ab", b"\xff", b"a b"])
ENTRIES = st.sampled_from(
    [make_file(0o644, 1, 2), make_file(0o644, -1, 2, b"d" * 32), make_link(b"x" * 300)]
)
CONTENTS = st.dictionaries(NAMES, ENTRIES)
PATHS = st.sampled_from([b"", b"a", b"b"])
CHANGES = st.lists(
    st.tuples(st.just("put"), PATHS, NAMES, ENTRIES | st.none())
    | st.tuples(st.just("set"), PATHS, CONTENTS)
    | st.tuples(st.just("packed"), PATHS)
    | st.tuples(st.just("pop"), PATHS)
    | st.tuples(st.just("move"), PATHS, PATHS)
)
Dicts = dict[bytes, dict[bytes, TreeEntry]]


@given(CONTENTS, CONTENTS)
def test_packed_entries_are_those_of_the_dict(
    some: dict[bytes, TreeEntry], other: dict[bytes, TreeEntry]
) -> None:
    packed = PackedEntries.of(some)
    assert dict(packed.items()) == some
    assert len(packed) == len(some)
    assert {name: packed.get(name) for name in some} == some
    assert all(packed.get(name) is None for name in {b"", b"nothing", *other} - {*some})
    assert (packed == PackedEntries.of(other)) is (some == other)


def change(ours: Directories[TreeEntry], dicts: Dicts, what: str, path: bytes, *more: Any) -> None:
    if what == "move" and (path not in dicts or more[0] in dicts):
        return
    getattr(ours, what)(path, *more)
    match what, *more:
        case "put", name, None:
            dicts.setdefault(path, {}).pop(name, None)
        case "put", name, entry:
            dicts.setdefault(path, {})[name] = entry
        case "set", entries:
            dicts[path] = dict(entries)
        case ("pop",):
            dicts.pop(path, None)
        case "move", target:
            dicts[target] = dicts.pop(path)


@given(CHANGES, st.sampled_from([0, 2, 1000]))
def test_directories_are_those_of_the_dicts(
    changes: list[tuple[Any, ...]], changes_max: int
) -> None:
    ours: Directories[TreeEntry] = Directories(TreeEntry)
    dicts: Dicts = {}
    with patch.object(directories, "_CHANGES_MAX", changes_max):
        for words in changes:
            change(ours, dicts, *words)
            assert {path: ours.children(path) for path in ours} == dicts
            assert ours.count() == sum(map(len, dicts.values()))
            assert all(
                ours.get(path, name) == entry
                for path, entries in dicts.items()
                for name, entry in entries.items()
            )


def test_what_is_below_a_directory_moves_and_is_forgotten_with_it() -> None:
    ours: Directories[TreeEntry] = Directories(TreeEntry)
    file = make_file(0o644, 1, 2)
    ours.set(b"d", {b"e": make_directory(0o755), b"f": file})
    ours.put(b"d/e", b"g", file)
    ours.move(b"d", b"m")
    assert sorted(ours) == [b"m", b"m/e"]
    assert ours.get(b"m/e", b"g") == file
    ours.forget(b"m")
    assert (list(ours), ours.count()) == ([], 0)
