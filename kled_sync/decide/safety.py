"""The conditions under which a continuous sync halts and asks instead of deleting. No I/O."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from kled_sync.decide.reconcile import PathChange
from kled_sync.tree.entry import DIRECTORY, TreeEntry
from kled_sync.tree.paths import split
from kled_sync.tree.tree import Tree

# A deletion that is both more than this many and this part of what was agreed is asked about.
DELETIONS_MAX: Final = 100
DELETED_PART_MAX: Final = 0.10
# A sync asks about a root that was replaced and lacks more than this part of the agreed names.
LACKING_PART_MAX: Final = 0.5
# gitrepository-layout(5): the directory of a loose object, below `objects`.
_is_loose_directory: Final = re.compile(rb"(?:.*/)?objects/[0-9a-f]{2}", re.DOTALL).fullmatch
_OBJECTS: Final = b"objects/"


def root_trouble(side: str, now: TreeEntry | None, agreed: Tree, entries: int) -> str | None:
    """Why the root of `side`, with so many entries in it, is not believed; None when it is."""
    if agreed.root is None:
        return None
    if now is None:
        return f"the folder on the {side} side is gone"
    if now.is_frozen:
        return f"the folder on the {side} side cannot be read"
    if now.kind is not agreed.root.kind:
        return f"what is on the {side} side is a {now.kind.name.lower()} now"
    if now.is_directory and not entries and len(agreed.children(b"")) >= 2:
        return f"the folder on the {side} side is empty now"
    return None


def replaced_trouble(side: str, now: Tree, agreed: Tree) -> str | None:
    """Why the directory that took the place of the root of `side` is not believed.

    None when it is: it has most of what was agreed, as one that was made anew or brought back has.
    """
    known = here = 0
    for directory in agreed.directories:
        there = now.children(directory)
        names = agreed.children(directory)
        known += len(names)
        here += sum(name in there for name in names)
    if known - here <= known * LACKING_PART_MAX:
        return None
    return f"another folder is on the {side} side now, with {here} of {known} names"


def count_deletions(actions: Sequence[PathChange]) -> int:
    """How many files and links would be gone. One that comes back elsewhere was moved."""
    gone = [a.old for a in actions if a.new is None and a.old is not None]
    lost = Counter(_content(old) for old in gone if not old.is_directory)
    if lost:
        lost -= Counter(_content(a.new) for a in actions if a.new is not None and a.old is None)
    return lost.total() + sum(
        a.new is not None and a.old is not None and a.old.is_directory and not a.new.is_directory
        for a in actions
    )


def _count_more(actions: Sequence[PathChange]) -> int:
    """How many files and links would be new, other than those that were moved."""
    come = Counter(_content(a.new) for a in actions if a.new is not None and a.old is None)
    gone = Counter(_content(a.old) for a in actions if a.new is None and a.old is not None)
    return sum(n for (kind, _), n in (come - gone).items() if kind != DIRECTORY)


def _content(entry: TreeEntry) -> tuple[int, bytes]:
    """Of what was not read nothing is known, so it is like nothing else."""
    return entry[0], entry.tail if entry.is_hashed else bytes(entry)


def too_many_deletions(actions: Sequence[PathChange], known: int, lost: int = 0) -> str | None:
    """What is asked about, of one side's actions in a tree of `known` entries.

    `lost` of these went shortly before: who deletes much is seen at it more than once. Each new
    file makes up for one that goes: another branch may have other files.
    """
    touched = lost + sum(action.old is not None for action in actions)
    if touched <= max(DELETIONS_MAX, known * DELETED_PART_MAX):
        return None  # whatever was moved
    count = count_deletions(actions) - _count_more(actions)
    if count <= 0 or lost + count <= max(DELETIONS_MAX, known * DELETED_PART_MAX):
        return None
    went = f" after {lost} a moment ago" if lost else ""
    return f"{count} of {known} files would be deleted on the {actions[0].side.value} side{went}"


def count_lasting(tree: Tree) -> int:
    """How many entries there are without git's loose objects, which `git gc` packs and deletes.

    Nor are the directories that these alone are in counted: they go as well.
    """
    directories = tree.directories
    # Nearly all directories are no such, and there may be 20,000.
    loose = [d for d in directories if d[-10:-2] == _OBJECTS and _is_loose_directory(d)]
    return tree.count() - len(loose) - sum(map(directories.size, loose))


def without_packed(actions: Iterable[PathChange], source: Tree) -> list[PathChange]:
    """`actions` without deletions of loose objects where `source` has a pack in their repository.

    Whether it is in that pack nobody looks; but git writes a pack before it deletes what is in it.
    """
    packs: dict[bytes, bool] = {}
    found = []
    for action in actions:
        directory = split(action.path)[0]
        if action.new is None and _is_loose_directory(directory):
            objects = split(directory)[0]
            if objects not in packs:
                packs[objects] = source.directories.size(objects + b"/pack") > 0
            if packs[objects]:
                continue
        found.append(action)
    return found
