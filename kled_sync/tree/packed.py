"""The entries of one directory in a few objects, however many they are. No I/O."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, chain, pairwise
from typing import Final, Self

_START: Final = (0,)
_SMALL: Final = 2**32


class PackableEntry(bytes):
    """An entry that is one bytes object."""

    __slots__ = ()

    @property
    def is_directory(self) -> bool:
        raise NotImplementedError


class PackedEntries:
    """Entries by name, as bytes. It does not change, so several trees can have the same one.

    A name and an entry of their own cost 33 bytes each on top of what they say, and a place in a
    dict at least 37: of a million files that would be most of the memory.
    """

    __slots__ = ("_entries", "_entry_ends", "_name_ends", "_names")

    def __init__(self, names: Sequence[bytes], entries: bytes, entry_ends: Iterable[int]) -> None:
        """From sorted names, their entries joined, and the offset at which each entry ends."""
        self._names, self._entries = b"".join(names), entries
        self._name_ends = array("Q" if len(self._names) >= _SMALL else "I", _ends(names))
        self._entry_ends = array("Q" if len(entries) >= _SMALL else "I", entry_ends)

    @classmethod
    def of(cls, entries: Mapping[bytes, bytes]) -> Self:
        """Entries of any length, by name."""
        names = sorted(entries)
        ordered = [entries[name] for name in names]
        return cls(names, b"".join(ordered), _ends(ordered))

    @classmethod
    def of_rows(cls, names: Sequence[bytes], entries: bytes) -> Self:
        """From sorted names and their entries joined, all of one length."""
        size = len(entries) // len(names)
        return cls(names, entries, range(size, len(entries) + 1, size))

    def __len__(self) -> int:
        return len(self._name_ends)

    def get(self, name: bytes) -> bytes | None:
        """The entry of that name; None where there is none."""
        at = bisect_left(range(len(self)), name, key=self._name)
        if at == len(self) or self._name(at) != name:
            return None
        return self._entries[self._entry_ends[at - 1] if at else 0 : self._entry_ends[at]]

    def _name(self, at: int) -> bytes:
        return self._names[self._name_ends[at - 1] if at else 0 : self._name_ends[at]]

    def names(self) -> list[bytes]:
        """All names, in order."""
        names = self._names
        return [names[start:end] for start, end in pairwise(chain(_START, self._name_ends))]

    def entries(self) -> list[bytes]:
        """The entries, in the order of their names."""
        entries = self._entries
        return [entries[start:end] for start, end in pairwise(chain(_START, self._entry_ends))]

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """All names, in order, with their entries."""
        return zip(self.names(), self.entries(), strict=True)

    def is_named_like(self, other: PackedEntries) -> bool:
        """Whether it has the same names as `other`, whatever their entries are."""
        return self._names == other._names and self._name_ends == other._name_ends

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PackedEntries) and all(
            getattr(self, part) == getattr(other, part) for part in self.__slots__
        )

    __hash__ = None  # type: ignore[assignment]  # compared as a whole, never looked up


def _ends(parts: Sequence[bytes]) -> Iterator[int]:
    return accumulate(map(len, parts))
