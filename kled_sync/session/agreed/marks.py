"""The marks of the attributes that both sides agreed on, by path."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from kled_sync.decide.attributes import AttributeMark, check_mark
from kled_sync.files.reading.snapshot import contents, load_snapshot, save_snapshot
from kled_sync.tree.directories import Directories
from kled_sync.tree.paths import ROOT, split
from kled_sync.tree.tree import is_or_is_below
from kled_wire.errors import ProtocolError

MARKS: Final = "attributes"


class AttributeMarks:
    """Empty where a sync was not asked for attributes. The root has the name ""."""

    def __init__(self, path: Path | None) -> None:
        """`path` is None for a sync that runs once. A damaged file is treated as missing."""
        self._path = path
        self._marks = Directories(AttributeMark)
        try:
            if path is not None and load_snapshot(path, self._take) is None:
                self._marks.clear()
        except ProtocolError:
            self._marks.clear()

    def _take(self, directory: bytes, found: dict[bytes, bytes]) -> None:
        self._marks.set(directory, {name: check_mark(mark) for name, mark in found.items()})

    def get(self, path: bytes) -> AttributeMark | None:
        """The mark of `path`; None where nothing was agreed."""
        return self._marks.get(*_place(path))

    def put(self, path: bytes, mark: AttributeMark) -> None:
        self._marks.put(*_place(path), mark)

    def remove(self, path: bytes) -> None:
        """Forget the marks of `path` and of all paths below it."""
        directory, name = _place(path)
        if directory not in self._marks:
            return
        self._marks.put(directory, name, None)
        if path in self._marks and path != ROOT:
            for below in self._below(path):
                self._marks.pop(below)

    def move(self, source: bytes, path: bytes) -> None:
        """Move the marks of the directory `source`, and of all below it, to `path`."""
        mark = self.get(source)
        if mark is None:
            return
        for below in self._below(source):
            self._marks.use(path + below[len(source) :], self._marks.packed(below))
            self._marks.pop(below)
        self._marks.put(*_place(source), None)
        self.put(path, mark)

    def _below(self, top: bytes) -> list[bytes]:
        return [directory for directory in self._marks if is_or_is_below(directory, top)]

    def save(self) -> None:
        """Write the marks, if there are any. Raises OSError."""
        if self._path is not None and (self._marks.count() or self._path.exists()):
            save_snapshot(self._path, b"", contents(self._marks))


def _place(path: bytes) -> tuple[bytes, bytes]:
    return split(path) if path else (ROOT, b"")
