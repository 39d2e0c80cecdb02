"""The sources and the target of `kled cp`, and what of it is copied together. No I/O."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass

from kled_client.sync.place import parse_place
from kled_sync.decide.target import CpWish, name_of
from kled_wire.errors import InputError
from kled_wire.names import WorkspaceRef


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyPlan:
    """Which workspace, in which direction, and the paths on each side."""

    workspace: WorkspaceRef
    upload: bool
    sources: tuple[str, ...]
    target: str


def plan_copy(words: tuple[str, ...]) -> CopyPlan:
    """Raises InputError when not exactly one side is a workspace."""
    if len(words) < 2:
        raise InputError("usage", "kled cp needs a source and a target", hint="kled cp SRC… DST")
    *sources, target = map(parse_place, words)
    workspaces = {place.workspace for place in sources}
    if len(workspaces) != 1:
        raise InputError("copy_mixed", "the sources must all be on the same side")
    source = workspaces.pop()
    if (source is None) == (target.workspace is None):
        what = "both sides are on this machine" if source is None else "both sides are workspaces"
        raise InputError("copy_sides", what, hint="write WORKSPACE:path for one of the two sides")
    workspace = source or target.workspace
    assert workspace is not None
    return CopyPlan(
        workspace=workspace,
        upload=source is None,
        sources=tuple(place.path for place in sources),
        target=target.path,
    )


def copies(sources: Sequence[bytes], target: bytes, *, recurse: bool) -> list[CpWish]:
    """What is to be copied together: names in the same directory, which one scan finds."""
    if len(sources) == 1:
        return [copy_of(sources[0], target, recurse=recurse, inside=False)]
    found: list[CpWish] = []
    names: dict[bytes, list[bytes]] = {}
    for source in sources:
        if name_of(source):
            names.setdefault(posixpath.dirname(source.rstrip(b"/")) or b".", []).append(source)
        else:
            found.append(copy_of(source, target, recurse=recurse, inside=True))
    for above, paths in names.items():
        followed = {name_of(path) for path in paths if not recurse or path.endswith(b"/")}
        found.append(
            CpWish(
                source=above,
                destination=target,
                names=frozenset(map(name_of, paths)),
                followed=frozenset(followed),
                recurse=recurse,
                inside=True,
            )
        )
    return found


def copy_of(source: bytes, target: bytes, *, recurse: bool, inside: bool) -> CpWish:
    """A single file or directory; with `inside`, the target must be a directory."""
    name = name_of(source)
    follows = not (recurse and name) or source.endswith(b"/")
    return CpWish(
        source=source,
        destination=target,
        followed=frozenset({name} if follows else ()),
        recurse=recurse,
        inside=inside,
    )
