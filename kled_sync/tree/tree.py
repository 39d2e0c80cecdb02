"""The tree of one side's entries, by directory and name. No I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from kled_sync.tree.directories import Directories
from kled_sync.tree.entry import FILE, TreeEntry
from kled_sync.tree.packed import PackedEntries
from kled_sync.tree.paths import ROOT, is_below, join, split


class Tree:
    """A root's entry, and for each directory below it the entries in it."""

    __slots__ = ("directories", "root")

    def __init__(self) -> None:
        self.root: TreeEntry | None = None
        self.directories: Directories[TreeEntry] = Directories(TreeEntry)

    def get(self, path: bytes) -> TreeEntry | None:
        """What is at `path`; None where nothing is."""
        if path == ROOT:
            return self.root
        return self.directories.get(*split(path))

    def children(self, path: bytes) -> dict[bytes, TreeEntry]:
        """What is in a directory, by name; a dict of the caller's."""
        return self.directories.children(path)

    def put(self, path: bytes, entry: TreeEntry) -> None:
        """Set what is at `path`. What was below stays only where it is a directory still."""
        if path == ROOT:
            self.root = entry
        else:
            self.directories.put(*split(path), entry)
        if not entry.is_directory:
            self._forget_below(path)

    def fill(self, directory: bytes, files: PackedEntries) -> None:
        """Add or replace `files` in `directory`, all at once; its other entries stay."""
        if not self.directories.size(directory):
            self.directories.use(directory, files)
            return
        children, found = self.children(directory), _entries(files)
        for name in children.keys() & found.keys():
            if children[name].is_directory:
                self._forget_below(join(directory, name))
        self.directories.set(directory, children | found)

    def renew(self, directory: bytes, files: PackedEntries) -> None:
        """Replace the entries of files that are in the directory already; others stay."""
        there = self.directories.packed(directory)
        if there.is_named_like(files) and {entry[0] for entry in there.entries()} == {FILE}:
            self.directories.use(directory, files)
            return
        children, found = self.children(directory), _entries(files)
        for name, old in children.items():
            if old.is_file:
                children[name] = found.get(name, old)
        self.directories.set(directory, children)

    def put_children(self, directory: bytes, entries: Mapping[bytes, TreeEntry]) -> None:
        """Set all that is in a directory; forgets what was below those that are gone."""
        for name, entry in self.children(directory).items():
            if entry.is_directory:
                new = entries.get(name)
                if new is None or not new.is_directory:
                    self._forget_below(join(directory, name))
        self.directories.set(directory, entries)

    def remove(self, path: bytes) -> None:
        """Forget `path` and what is below it."""
        if path == ROOT:
            self.root = None
            self.directories.clear()
            return
        if self.get(path) is not None:
            self.directories.put(*split(path), None)
        self._forget_below(path)

    def move(self, source: bytes, target: bytes) -> None:
        """Let the directory at `source`, with all in it, be at `target`, where nothing is."""
        entry = self.get(source)
        assert entry is not None
        self.directories.move(source, target)
        self.remove(source)
        self.put(target, entry)

    def _forget_below(self, path: bytes) -> None:
        if path in self.directories:
            self.directories.forget(path)

    def walk(self, top: bytes = ROOT) -> Iterator[tuple[bytes, TreeEntry]]:
        """`top` and all below it that is reached through directories, those before their own."""
        entry = self.get(top)
        if entry is None:
            return
        yield top, entry
        if entry.is_directory:
            waiting = [top]
            while waiting:
                directory = waiting.pop()
                for name, found in self.children(directory).items():
                    path = join(directory, name)
                    yield path, found
                    if found.is_directory:
                        waiting.append(path)

    def count(self) -> int:
        """How many entries there are, the root's with them."""
        return self.directories.count() + (self.root is not None)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Tree)
            and self.root == other.root
            and all(
                self.children(directory) == other.children(directory)
                for directory in {*self.directories, *other.directories}
            )
        )

    __hash__ = None  # type: ignore[assignment]  # it changes


def _entries(files: PackedEntries) -> dict[bytes, TreeEntry]:
    return {name: TreeEntry(entry) for name, entry in files.items()}


def share_entries(directory: bytes, trees: Sequence[Tree]) -> None:
    """Have what is in a directory once in memory for those of `trees` that are like the first."""
    shared = trees[0].directories.packed(directory)
    for tree in trees[1:]:
        if tree.directories.packed(directory) == shared and shared:
            tree.directories.use(directory, shared)


def is_or_is_below(path: bytes, top: bytes) -> bool:
    """Whether `path` is `top`, or inside it."""
    return path == top or is_below(path, top)
