"""Restores versions that a sync replaced or deleted on this side."""

from __future__ import annotations

import os
import shutil
import stat
from contextlib import suppress
from typing import Final

from blake3 import blake3

from kled_sync.decide.operations import Do, Operation
from kled_sync.endpoint.holding import HeldRoot
from kled_sync.files.kept import MADE, KeptVersion
from kled_sync.files.placing import Refusal
from kled_sync.files.staging import dress
from kled_sync.tree.entry import TreeEntry, make_directory, make_file, make_link
from kled_sync.tree.paths import ROOT, is_below, shown, split
from kled_sync.wire.messages import AskKept, Kept, PathList, Rows, Undo, Undone
from kled_wire.errors import ConflictError, NotFoundError

_VERSIONS_MAX: Final = 1000


def ask_kept(holding: HeldRoot, message: AskKept) -> Kept:
    """What is kept of a path, newest first."""
    found = _of(holding, message.path)[::-1][:_VERSIONS_MAX]
    return Kept(request=message.request, versions=Rows(tuple(version) for version in found))


def undo(holding: HeldRoot, message: Undo) -> Undone:
    """Raises NotFoundError("sync_nothing_kept"), ConflictError("sync_undo_failed")."""
    kept = holding.kept
    found = _of(holding, message.path)
    if kept is None or not found:
        raise NotFoundError("sync_nothing_kept", f"nothing is kept of {shown(message.path)}")
    if message.purge:
        return Undone(request=message.request, paths=PathList(kept.purge(message.path)))
    chosen: dict[bytes, KeptVersion] = {}
    for version in found if message.since_s else found[::-1]:
        if version.at_s >= message.since_s:
            chosen.setdefault(version.path, version)
    done = []
    try:
        for path, version in sorted(chosen.items(), key=_order):
            if _bring_back(holding, path, version):
                done.append(path)
    except Refusal as exc:
        raise ConflictError("sync_undo_failed", f"{shown(path)}: {exc.words}") from exc
    kept.save()
    return Undone(request=message.request, paths=PathList(done))


def _order(item: tuple[bytes, KeptVersion]) -> tuple[bool, list[int]]:
    """What comes back from the top down, then what goes from the bottom up."""
    path, version = item
    goes = version.what == MADE
    return goes, [-byte for byte in path] + [1] if goes else list(path)


def _of(holding: HeldRoot, path: bytes) -> list[KeptVersion]:
    versions = holding.kept.versions() if holding.kept is not None else []
    return [v for v in versions if v.path == path or is_below(v.path, path)]


def _bring_back(holding: HeldRoot, path: bytes, version: KeptVersion) -> bool:
    """Whether there was something to do. Raises Refusal."""
    holding.root.forget()
    known = holding.memory.get(path)
    present = known.entry if known is not None else None
    placer = holding.shop.placer
    if version.what == MADE:
        if present is None:
            return False
        do = Do.REMOVE_DIRECTORY if present.is_directory else Do.REMOVE
        try:
            placer.do(Operation(do, path, None, present), b"", None)
        except Refusal:
            if not present.is_directory:  # one that others put something into stays
                raise
    elif version.number:
        _make_above(holding, path)
        staged, content = _stage(holding, version)
        do = Do.CONTENT if content.is_file else Do.LINK
        placer.do(Operation(do, path, content, present), staged, content)
    holding.memory.mark(path)
    return True


def _make_above(holding: HeldRoot, path: bytes) -> None:
    missing = []
    above = split(path)[0]
    while above != ROOT and holding.root.stat(above) is None:
        missing.append(above)
        above = split(above)[0]
    for directory in reversed(missing):
        operation = Operation(Do.MAKE_DIRECTORY, directory, make_directory(0o755), None)
        holding.shop.placer.do(operation, b"", None)


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
        os.unlink(staged, dir_fd=holding.shop.staging)
    source = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=directory)
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    target = os.open(staged, flags, 0o600, dir_fd=holding.shop.staging)
    with os.fdopen(source, "rb") as reader, os.fdopen(target, "r+b") as out:
        shutil.copyfileobj(reader, out)
        out.flush()
        out.seek(0)
        hasher = blake3()
        while part := out.read(1024 * 1024):
            hasher.update(part)
        dress(out.fileno(), found.st_mode & 0o777, found.st_mtime_ns)
    entry = make_file(found.st_mode, found.st_mtime_ns, found.st_size, hasher.digest())
    return staged, entry
