"""Renames a directory with all that is in it, if that is as it was last seen, all of it.

It is looked at before and after: what was changed in the moment between gets its old place back,
and is told like every other change. It is watched under its new name before it is looked at again,
so nothing is missed and no third look is needed.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable

from kled_sync.decide.operations import Operation
from kled_sync.files.reading.chunk_store import ChunkStore
from kled_sync.files.reading.contents import is_known
from kled_sync.files.reading.memory import Memory, seen
from kled_sync.files.root import Root
from kled_sync.files.system import rename_new
from kled_sync.files.writing.refusal import CHANGED, Refusal
from kled_sync.tree.paths import join

# With a directory's path and a descriptor of it.
Watch = Callable[[bytes, int], None]


def move_directory(
    operation: Operation, root: Root, memory: Memory, store: ChunkStore, watch: Watch | None
) -> None:
    """Also in `memory`. Blocks. Raises Refusal, OSError; then all is where it was."""
    try:
        _move(operation, root, memory, store, watch)
    except (Refusal, OSError):
        memory.dirty.update(memory.below(operation.source))
        raise


def _move(
    operation: Operation, root: Root, memory: Memory, store: ChunkStore, watch: Watch | None
) -> None:
    source, path, old = operation.source, operation.path, operation.old
    if old is None or memory.content_below(source) != old.tail:
        raise Refusal(*CHANGED)
    look = _Comparison(root, memory, store)
    look.check(source, source)
    _rename(root, source, path)
    try:
        _watch(source, path, root, memory, watch)
        look.check(source, path)
    except (Refusal, OSError):
        _rename(root, path, source)
        _watch(source, source, root, memory, watch)
        raise
    memory.move(source, path)


def move_file(operation: Operation, root: Root, memory: Memory, store: ChunkStore) -> None:
    """The same of a file or a link; what is saved in that moment goes with it."""
    known, found = memory.get(operation.source), root.stat(operation.source)
    if known is None or found is None:
        raise Refusal(*CHANGED)
    if not is_known(root, operation.source, known, found, store):
        raise Refusal(*CHANGED)
    _rename(root, operation.source, operation.path)
    memory.move(operation.source, operation.path)
    # Its time of change is another now, and what was saved in that moment has none of its own.
    memory.put(operation.path, seen(known.entry, None))
    memory.mark(operation.path)


def _watch(known_at: bytes, path: bytes, root: Root, memory: Memory, watch: Watch | None) -> None:
    """Watch the directories known at `known_at` under their paths below `path`."""
    if watch is not None:
        for directory in memory.below(known_at):
            now = path + directory[len(known_at) :]
            watch(now, root.directory(now))


def _rename(root: Root, source: bytes, path: bytes) -> None:
    root.forget()
    above, name = root.locate(source)
    above = os.dup(above)
    try:
        try:
            rename_new(above, name, *root.locate(path))
        except FileExistsError:
            if not _is_itself(root, above, name, path):
                raise Refusal(*CHANGED) from None
            descriptor, new_name = root.locate(path)
            os.rename(name, new_name, src_dir_fd=above, dst_dir_fd=descriptor)
    finally:
        os.close(above)
        # Descriptors are known by paths that lead elsewhere now.
        root.forget()


def _is_itself(root: Root, above: int, name: bytes, path: bytes) -> bool:
    """Whether the directory `name` is found as `path`, too: only the case of its name changes."""
    mine, there = os.stat(name, dir_fd=above, follow_symlinks=False), root.stat(path)
    if there is None or not stat.S_ISDIR(there.st_mode):
        return False
    return (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino)


class _Comparison:
    """Compares directories with what is known of them."""

    def __init__(self, root: Root, memory: Memory, store: ChunkStore) -> None:
        self._root, self._memory, self._store = root, memory, store

    def check(self, known_at: bytes, path: bytes) -> None:
        """Whether all below `path` is what was seen below `known_at`. Raises Refusal, OSError."""
        known = self._memory.directories.children(known_at)
        descriptor = self._root.directory(path)
        if set(map(os.fsencode, os.listdir(descriptor))) != known.keys():
            raise Refusal(*CHANGED)
        inside = []
        for name, what in known.items():
            found = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            if what.is_directory and stat.S_ISDIR(found.st_mode):
                inside.append(name)
            elif what.is_directory or not (
                (what.is_sure and what.is_still(found))
                or is_known(self._root, join(path, name), what, found, self._store)
            ):
                raise Refusal(*CHANGED)
        for name in inside:  # now, since only so many descriptors are kept
            self.check(join(known_at, name), join(path, name))
