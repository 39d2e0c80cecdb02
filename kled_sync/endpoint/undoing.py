"""Restores versions that a sync replaced or deleted on this side."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress

from blake3 import blake3

from kled_sync.decide.operations import Do, Operation
from kled_sync.endpoint.holding import HeldRoot
from kled_sync.files.attributes import copy_attributes
from kled_sync.files.writing.copying import copy_contents
from kled_sync.files.writing.filling import dress
from kled_sync.files.writing.kept import ATTRIBUTES, MADE, MOVED, REPLACED, KeptVersion
from kled_sync.files.writing.kept_attributes import give_back
from kled_sync.files.writing.refusal import Refusal
from kled_sync.tree.entry import TreeEntry, make_directory, make_file, make_link
from kled_sync.tree.paths import ROOT, is_below, shown, split
from kled_sync.wire.messages import KEPT_MAX, AskKept, Kept, PathList, Rows, Undo, Undone
from kled_wire.errors import ConflictError, NotFoundError


def ask_kept(holding: HeldRoot, message: AskKept) -> Kept:
    """What is kept of a path, newest first."""
    found = _of(holding, message.path)[::-1][:KEPT_MAX]
    return Kept(request=message.request, versions=Rows(version.row() for version in found))


def undo(holding: HeldRoot, message: Undo) -> Undone:
    """Raises NotFoundError("sync_nothing_kept"), ConflictError("sync_undo_failed")."""
    kept = holding.kept
    found = _of(holding, message.path)
    if kept is None or not found:
        raise NotFoundError("sync_nothing_kept", f"nothing is kept of {shown(message.path)}")
    if message.purge:
        return Undone(request=message.request, paths=PathList(kept.purge(message.path)))
    spared = set(message.spared)
    found = [version for version in found if version.path not in spared]
    if message.until_s:
        found = [version for version in found if version.at_s < message.until_s]
    chosen = _since(found, message.since_s) if message.since_s else _last(found)
    done: list[bytes] = []
    for path, version in _in_order(chosen):
        try:
            if _bring_back(holding, path, version):
                done.extend(version.paths)
        except Refusal as exc:
            raise ConflictError("sync_undo_failed", f"{shown(path)}: {exc.words}") from exc
        finally:
            holding.context.placer.close_directories()
    kept.save()
    return Undone(request=message.request, paths=PathList(done))


def _since(found: list[KeptVersion], since_s: float) -> list[KeptVersion]:
    """Newest first, all that came to be since then."""
    return [version for version in reversed(found) if version.at_s >= since_s]


def _last(found: list[KeptVersion]) -> list[KeptVersion]:
    """Newest first, the last one of each path: of what moved with its directory, the move."""
    chosen: list[KeptVersion] = []
    seen: set[bytes] = set()
    moved: list[bytes] = []
    for version in reversed(_without_places(found)):
        paths = version.paths
        if not seen.isdisjoint(paths) or any(is_below(p, top) for p in paths for top in moved):
            continue
        chosen.append(version)
        seen.update(paths)
        moved += paths if version.what == MOVED else ()
    return chosen


def _without_places(found: list[KeptVersion]) -> list[KeptVersion]:
    """Leave out directories that were made in the place of a file: undoing restores the file."""
    last: dict[bytes, str] = {}
    left = []
    for version in found:
        if version.what != MADE or last.get(version.path) != REPLACED:
            left.append(version)
        if version.what != ATTRIBUTES:
            last[version.path] = version.what
    return left


def _in_order(newest_first: list[KeptVersion]) -> Iterator[tuple[bytes, KeptVersion]]:
    """How to undo them: what came after a move before that move, and of each path the oldest.

    Attributes are given back to what is there then, unless an older content brings its own.
    """
    between: dict[bytes, KeptVersion] = {}
    attributes: dict[bytes, KeptVersion] = {}
    for version in newest_first:
        if version.what == MOVED:
            yield from _sorted(between)
            yield from sorted(attributes.items(), reverse=True)
            yield version.path, version
            between.clear()
            attributes.clear()
        elif version.what == ATTRIBUTES:
            attributes[version.path] = version
        else:
            between[version.path] = version
            attributes.pop(version.path, None)
    yield from _sorted(between)
    yield from sorted(attributes.items(), reverse=True)


def _sorted(versions: dict[bytes, KeptVersion]) -> list[tuple[bytes, KeptVersion]]:
    """What comes back from the top down, then what goes from the bottom up. Before them goes what
    is in the way: a file where a directory was, which is its own `source` here, and the reverse.
    """
    coming = {path for path, version in versions.items() if version.what != MADE}
    above = {directory for path in coming for directory in _above(path)}
    in_the_way, last = [], []
    for path in sorted(versions.keys() - coming, reverse=True):
        if path in above:
            in_the_way.append((path, versions[path]._replace(source=path)))
        elif coming.isdisjoint(_above(path)):
            last.append((path, versions[path]))
        else:
            in_the_way.append((path, versions[path]))
    return in_the_way + [(path, versions[path]) for path in sorted(coming)] + last


def _above(path: bytes) -> Iterator[bytes]:
    while path != ROOT:
        path = split(path)[0]
        yield path


def _of(holding: HeldRoot, path: bytes) -> list[KeptVersion]:
    return holding.kept.of(path) if holding.kept is not None else []


def _bring_back(holding: HeldRoot, path: bytes, version: KeptVersion) -> bool:
    """Whether there was something to do. Raises Refusal."""
    holding.root.forget()
    known = holding.memory.get(path)
    present = known.entry if known is not None else None
    placer = holding.context.placer
    if version.what == MADE:
        if present is None:
            return False
        with suppress(*(Refusal,) if present.is_directory else ()):  # it may not be empty
            _take_away(holding, path, present, version.source)
    elif version.what == MOVED:
        return _move_back(holding, version)
    elif version.what == ATTRIBUTES:
        if present is None or holding.kept is None:
            return False
        give_back(holding.root, holding.kept, version)
    elif version.number:
        _make_above(holding, path)
        staged, content = _stage(holding, version)
        if present is not None and present.is_directory:
            _take_away(holding, path, present)
            present = None
        if content.is_file:
            placer.do(Operation(Do.CONTENT, path, content, present), staged, content)
        else:
            placer.do(Operation(Do.LINK, path, content, present), b"", None)
    holding.memory.mark(path)
    return True


def _take_away(holding: HeldRoot, path: bytes, present: TreeEntry, source: bytes = b"") -> None:
    """Raises Refusal."""
    do = Do.REMOVE_DIRECTORY if present.is_directory else Do.REMOVE
    holding.context.placer.do(Operation(do, path, None, present, source), b"", None)


def _move_back(holding: HeldRoot, version: KeptVersion) -> bool:
    """Whether it is still there to be moved. Raises Refusal."""
    now = holding.memory.get(version.path)
    if now is None:
        return False
    old = now.entry
    if old.is_directory:
        digest = holding.memory.content_below(version.path)
        if digest is None:
            raise Refusal("not_empty", "something that is not synced is in the directory")
        old = old.with_digest(digest)
    _make_above(holding, version.source)
    back = Operation(Do.MOVE, version.source, now.entry, old, version.path)
    holding.context.placer.do(back, b"", None)
    return True


def _make_above(holding: HeldRoot, path: bytes) -> None:
    missing = []
    above = split(path)[0]
    while above != ROOT and holding.root.stat(above) is None:
        missing.append(above)
        above = split(above)[0]
    for directory in reversed(missing):
        operation = Operation(Do.MAKE_DIRECTORY, directory, make_directory(0o755), None)
        holding.context.placer.do(operation, b"", None)


def _stage(holding: HeldRoot, version: KeptVersion) -> tuple[bytes, TreeEntry]:
    """A copy of the version, so that it can be brought back again; of a link only what it says."""
    assert holding.kept is not None
    directory, name = holding.kept.place(version)
    try:
        found = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError as exc:
        raise Refusal("gone", "it was kept no longer") from exc
    if stat.S_ISLNK(found.st_mode):
        return b"", make_link(os.readlink(name, dir_fd=directory))
    staged = b"undo-%d" % version.number
    with suppress(FileNotFoundError):
        os.unlink(staged, dir_fd=holding.context.staging)
    source = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=directory)
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    target = os.open(staged, flags, 0o600, dir_fd=holding.context.staging)
    with os.fdopen(source, "rb"), os.fdopen(target, "r+b") as out:
        copy_contents(source, target)
        hasher = blake3()
        while part := out.read(1024 * 1024):
            hasher.update(part)
        copy_attributes(source, target)
        dress(target, os.fstat(target).st_mode & 0o7777, found.st_mtime_ns)
    entry = make_file(found.st_mode, found.st_mtime_ns, found.st_size, hasher.digest())
    return staged, entry
