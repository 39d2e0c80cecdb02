"""The tree of one side's entries, by directory and name. No I/O."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kled_sync.tree.entry import TreeEntry
from kled_sync.tree.paths import ROOT, is_below, join, split
from kled_sync.tree.subtree import move_below

_NONE: dict[bytes, TreeEntry] = {}


class SharedEntries(dict[bytes, TreeEntry]):
    """What is in a directory, for several trees at once: one that changes it makes a copy first."""


class Tree:
    """A root's entry, and for each directory below it the entries in it."""

    __slots__ = ("directories", "root")

    def __init__(self) -> None:
        self.root: TreeEntry | None = None
        self.directories: dict[bytes, dict[bytes, TreeEntry]] = {}

    def get(self, path: bytes) -> TreeEntry | None:
        """What is at `path`; None where nothing is."""
        if path == ROOT:
            return self.root
        directory, name = split(path)
        return self.directories.get(directory, _NONE).get(name)

    def children(self, path: bytes) -> dict[bytes, TreeEntry]:
        """What is in a directory, by name; not to be changed."""
        return self.directories.get(path, _NONE)

    def put(self, path: bytes, entry: TreeEntry) -> None:
        """Set what is at `path`. What was below stays only where it is a directory still."""
        if path == ROOT:
            self.root = entry
        else:
            directory, name = split(path)
            self._own(directory)[name] = entry
        if not entry.is_directory:
            self._forget_below(path)

    def put_children(self, directory: bytes, entries: dict[bytes, TreeEntry]) -> None:
        """Set all that is in a directory; forgets what was below those that are gone."""
        for name, entry in self.directories.get(directory, _NONE).items():
            if entry.is_directory:
                new = entries.get(name)
                if new is None or not new.is_directory:
                    self._forget_below(join(directory, name))
        if entries:
            self.directories[directory] = entries
        else:
            self.directories.pop(directory, None)

    def remove(self, path: bytes) -> None:
        """Forget `path` and what is below it."""
        if path == ROOT:
            self.root = None
            self.directories.clear()
            return
        directory, name = split(path)
        if name in self.children(directory):
            entries = self._own(directory)
            del entries[name]
            if not entries:
                del self.directories[directory]
        self._forget_below(path)

    def move(self, source: bytes, target: bytes) -> None:
        """Let the directory at `source`, with all in it, be at `target`, where nothing is."""
        entry = self.get(source)
        assert entry is not None
        move_below(self.directories, source, target)
        self.remove(source)
        self.put(target, entry)

    def _own(self, directory: bytes) -> dict[bytes, TreeEntry]:
        """What is in a directory, to be changed."""
        entries = self.directories.get(directory, _NONE)
        if entries is _NONE or isinstance(entries, SharedEntries):
            entries = self.directories[directory] = dict(entries)
        return entries

    def _forget_below(self, path: bytes) -> None:
        entries = self.directories.pop(path, None)
        for name, entry in (entries or _NONE).items():
            if entry.is_directory:
                self._forget_below(join(path, name))

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
        return sum(map(len, self.directories.values())) + (self.root is not None)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Tree)
            and self.root == other.root
            and self.directories == other.directories
        )

    __hash__ = None  # type: ignore[assignment]  # it changes


def share_entries(directory: bytes, trees: Sequence[Tree]) -> None:
    """Have what is in a directory once in memory, if it is the same in all of `trees`."""
    first = trees[0].children(directory)
    if not first or any(tree.children(directory) != first for tree in trees[1:]):
        return
    shared = first if isinstance(first, SharedEntries) else SharedEntries(first)
    for tree in trees:
        tree.directories[directory] = shared


def is_or_is_below(path: bytes, top: bytes) -> bool:
    """Whether `path` is `top`, or inside it."""
    return path == top or is_below(path, top)
