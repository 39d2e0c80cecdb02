"""Formats a change of a path for users (as rsync's --itemize-changes) and as an event. No I/O."""

from __future__ import annotations

import os
from typing import Any, Final

from kled_sync.decide.attributes import LINKED
from kled_sync.decide.reconcile import PathChange
from kled_sync.tree.entry import Kind, TreeEntry
from kled_sync.tree.paths import join, shown

_LETTERS: Final = {Kind.FILE: "f", Kind.DIRECTORY: "d", Kind.LINK: "L"}
_SAME: Final = "........."
_PLACES: Final = "cstpoguax"
_WORDS: Final = {
    LINKED: "hard_link",
    "p": "permissions",
    "o": "owner",
    "g": "group",
    "a": "acl",
    "x": "xattrs",
}


def place_in_list(action: PathChange) -> tuple[bytes, int, bytes]:
    """Sort key of rsync's order: what a directory loses, itself, then what it gets."""
    path, new = action.path, action.new
    if new is not None and new.is_directory:
        return (path, 1, b"")
    return (path.rpartition(b"/")[0], 0 if new is None else 2, path)


def itemize(
    action: PathChange, letters: str = "", leader: bytes | None = None, *, root: bytes = b""
) -> str:
    """One line: `>f+++++++++ name`; rsync(1) says what the letters mean.

    `letters` are of what is no part of an entry; `leader` is the path whose other name this gets;
    `root` is what the root is called; nothing where not it but what is in it is meant.
    """
    new, old = action.new, action.old
    name = shown(_below(root, action.path)) if leader is not None else _named(action, root)
    if new is None:
        return f"*deleting   {name}"
    letter = _LETTERS.get(new.kind, "f")
    if leader is not None:
        if old is None or LINKED in letters:
            return (
                f"h{letter}{('+' if old is None else ' ') * len(_SAME)} {name} => "
                f"{shown(_below(root, leader))}"
            )
        return f"h{letter}{_changes(new, old, letters)} {name}"
    if old is None or old.kind is not new.kind:
        moved = ">" if new.is_file else "c"
        return f"{moved}{letter}+++++++++ {name}"
    return f"{_moved(new, old)}{letter}{_changes(new, old, letters)} {name}"


def _named(action: PathChange, root: bytes) -> str:
    entry = action.old if action.new is None else action.new
    name = shown(_below(root, action.path))
    if entry is not None and entry.is_directory:
        return f"{name}/"
    if action.new is not None and action.new.kind is Kind.LINK:
        return f"{name} -> {shown(action.new.tail)}"
    return name


def _below(root: bytes, path: bytes) -> bytes:
    return join(root, path) if path else root


def _moved(new: TreeEntry, old: TreeEntry) -> str:
    if new.is_file:
        return "." if new.is_arrived(old) else ">"
    return "c" if new.tail != old.tail else "."


def _changes(new: TreeEntry, old: TreeEntry, letters: str) -> str:
    marks = list(_SAME)
    if new.is_file and new.size != old.size:
        marks[1] = "s"
    if (new.is_file or new.is_directory) and new.mtime_ns != old.mtime_ns:
        marks[2] = "t"
    if new.mode != old.mode:
        marks[3] = "p"
    for letter in letters:
        marks[_PLACES.index(letter)] = letter
    return "".join(marks)


def monitored(line: dict[str, Any], when: str) -> str:
    """One line of `kled sync monitor`: an event that has happened, with who did it."""
    way = f"{line['by']} → {line['side']}"
    return f"{when} {way:<13} {line['event']:<8} {event_path(line['path'])}"


def event_path(path: str) -> str:
    """A path as events have it, for people: the root is `.`."""
    return shown(os.fsencode(path))


def event(action: PathChange, letters: str = "", leader: bytes | None = None) -> dict[str, Any]:
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
    if letters:
        found["attributes"] = [_WORDS[letter] for letter in letters]
    if leader is not None:
        found["linked_to"] = leader.decode("utf-8", "surrogateescape")
    return found
