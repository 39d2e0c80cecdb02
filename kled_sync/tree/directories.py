"""What is in each directory of a tree, packed but for what changed last. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final, Generic, TypeVar

from kled_sync.tree.packed import PackableEntry, PackedEntries
from kled_sync.tree.paths import join

E = TypeVar("E", bound=PackableEntry)
# So many changes are kept by themselves before they are packed: a directory is packed as a whole.
_CHANGES_MAX: Final = 20_000
# Unpacking more for a few names would take longer than finding them.
_UNPACKED_MAX: Final = 5_000
_NOTHING: Final = PackedEntries.of({})


class Directories(Generic[E]):
    """Entries by directory and name; a directory in which nothing is may be known as well."""

    def __init__(self, make: Callable[[bytes], E]) -> None:
        """`make` is the type of the entries."""
        self._make = make
        self._packed: dict[bytes, PackedEntries] = {}
        # What was put since, or taken away (None); how many entries that has made more or fewer.
        self._changes: dict[bytes, dict[bytes, E | None]] = {}
        self._grown: dict[bytes, int] = {}
        self._count = 0
        # The one that was looked into last, and all that is in it if that was more than once.
        self._last, self._unpacked = _NOTHING, dict[bytes, bytes]()

    def __contains__(self, directory: bytes) -> bool:
        return directory in self._packed

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._packed)

    def get(self, directory: bytes, name: bytes) -> E | None:
        """What is there; None where nothing is."""
        found = self._find(directory, name)
        return None if found is None else self._make(found)

    def _find(self, directory: bytes, name: bytes) -> bytes | None:
        changes = self._changes.get(directory)
        if changes is not None and name in changes:
            return changes[name]
        packed = self._packed.get(directory, _NOTHING)
        if not len(packed):
            return None
        # Most are asked for one after the other: of the same directory, from the second on.
        if packed is not self._last:
            self._last, self._unpacked = packed, {}
        elif not self._unpacked and len(packed) <= _UNPACKED_MAX:
            self._unpacked = dict(packed.items())
        return self._unpacked.get(name) if self._unpacked else packed.get(name)

    def children(self, directory: bytes) -> dict[bytes, E]:
        """All that is in a directory, by name; a dict of the caller's."""
        packed = self._packed.get(directory, _NOTHING)
        found = dict(zip(packed.names(), map(self._make, packed.entries()), strict=True))
        for name, entry in self._changes.get(directory, {}).items():
            if entry is None:
                found.pop(name, None)
            else:
                found[name] = entry
        return found

    def size(self, directory: bytes) -> int:
        """How much is in a directory."""
        return len(self._packed.get(directory, _NOTHING)) + self._grown.get(directory, 0)

    def count(self) -> int:
        """How much is in all of them."""
        return sum(map(len, self._packed.values())) + sum(self._grown.values())

    def set(self, directory: bytes, entries: Mapping[bytes, E]) -> None:
        """Set all that is in a directory."""
        self.use(directory, PackedEntries.of(entries))

    def use(self, directory: bytes, packed: PackedEntries) -> None:
        """The same, as another tree has it."""
        self._forget_changes(directory)
        self._packed[directory] = packed

    def add(self, directory: bytes) -> None:
        """Know of it, whether or not something is in it."""
        self._packed.setdefault(directory, _NOTHING)

    def put(self, directory: bytes, name: bytes, entry: E | None) -> None:
        """Set what is there; None takes it away."""
        changes = self._changes.get(directory)
        if changes is None:
            self.add(directory)
            changes = self._changes[directory] = {}
        grows = (entry is not None) - (self._find(directory, name) is not None)
        if grows:
            self._grown[directory] = self._grown.get(directory, 0) + grows
        self._count += name not in changes
        changes[name] = entry
        if self._count > _CHANGES_MAX:
            for changed in list(self._changes):
                self.packed(changed)

    def packed(self, directory: bytes) -> PackedEntries:
        """All that is in a directory, as one object."""
        if directory in self._changes:
            self.set(directory, self.children(directory))
        return self._packed.get(directory, _NOTHING)

    def pop(self, directory: bytes) -> dict[bytes, E]:
        """Forget a directory; what was in it."""
        found = self.children(directory)
        self._forget_changes(directory)
        self._packed.pop(directory, None)
        return found

    def _forget_changes(self, directory: bytes) -> None:
        self._count -= len(self._changes.pop(directory, ()))
        self._grown.pop(directory, None)

    def forget(self, directory: bytes) -> None:
        """Forget a directory, and all below it."""
        for name, entry in self.pop(directory).items():
            if entry.is_directory:
                self.forget(join(directory, name))

    def move(self, source: bytes, target: bytes) -> None:
        """Let what is below the directory `source` be below `target`, where nothing is."""
        if source not in self:
            return
        for name, entry in self.children(source).items():
            if entry.is_directory:
                self.move(join(source, name), join(target, name))
        self._packed[target] = self._packed.pop(source)
        if source in self._changes:
            self._changes[target] = self._changes.pop(source)
            self._grown[target] = self._grown.pop(source, 0)

    def clear(self) -> None:
        """Forget everything."""
        self._packed.clear()
        self._changes.clear()
        self._grown.clear()
        self._count = 0
