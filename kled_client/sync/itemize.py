"""Formats a change of a path for users (as rsync's --itemize-changes) and as an event. No I/O."""

from __future__ import annotations

from typing import Any, Final

from kled_sync.decide.reconcile import PathChange
from kled_sync.tree.entry import Kind, TreeEntry
from kled_sync.tree.paths import shown

_LETTERS: Final = {Kind.FILE: "f", Kind.DIRECTORY: "d", Kind.LINK: "L"}
_SAME: Final = "........."


def place_in_list(action: PathChange) -> tuple[bytes, int, bytes]:
    """Sort key of rsync's order: what a directory loses, itself, then what it gets."""
    path, new = action.path, action.new
    if new is not None and new.is_directory:
        return (path, 1, b"")
    return (path.rpartition(b"/")[0], 0 if new is None else 2, path)


def itemize(action: PathChange) -> str:
    """One line: `>f+++++++++ name`; rsync(1) says what the letters mean."""
    new, old = action.new, action.old
    entry = old if new is None else new
    name = shown(action.path) + ("/" if entry is not None and entry.is_directory else "")
    if new is None:
        return f"*deleting   {name}"
    letter = _LETTERS.get(new.kind, "f")
    if old is None or old.kind is not new.kind:
        moved = ">" if new.is_file else "c"
        return f"{moved}{letter}+++++++++ {name}"
    return f"{_moved(new, old)}{letter}{_changes(new, old)} {name}"


def _moved(new: TreeEntry, old: TreeEntry) -> str:
    if new.is_file:
        return "." if new.is_hashed and new.tail == old.tail else ">"
    return "c" if new.tail != old.tail else "."


def _changes(new: TreeEntry, old: TreeEntry) -> str:
    marks = list(_SAME)
    if new.is_file and new.size != old.size:
        marks[1] = "s"
    if (new.is_file or new.is_directory) and new.mtime_ns != old.mtime_ns:
        marks[2] = "t"
    if new.mode != old.mode:
        marks[3] = "p"
    return "".join(marks)


def event(action: PathChange) -> dict[str, Any]:
    """The same for programs; `side` is the one that changes: `beta` is the destination."""
    new, old = action.new, action.old
    what = "deleted" if new is None else "created" if old is None else "changed"
    entry = new if new is not None else old
    assert entry is not None
    found: dict[str, Any] = {
        "event": what,
        "path": action.path.decode("utf-8", "surrogateescape"),
        "kind": entry.kind.name.lower(),
        "side": action.side.value,
    }
    if new is not None and new.is_file:
        found["bytes"] = new.size
    return found
