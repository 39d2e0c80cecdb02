"""Executes the operations of a job, each only if the path is as it was last seen.

A file is exchanged with the staged one atomically, then the old file is compared with the last
scan: if it has changed since, it is exchanged back, and the session is told that it changed.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from kled_sync.decide.operations import Do, Operation
from kled_sync.files.closed import ClosedDirectories
from kled_sync.files.options import Options
from kled_sync.files.reading.chunk_store import ChunkStore
from kled_sync.files.reading.contents import hash_file, is_known
from kled_sync.files.reading.memory import Memory, SeenEntry, placed_file, seen, seen_link
from kled_sync.files.root import Root
from kled_sync.files.system import exchange, rename_new
from kled_sync.files.writing.copying import copy_contents
from kled_sync.files.writing.filling import dress
from kled_sync.files.writing.kept import DELETED, REPLACED, KeptVersions
from kled_sync.files.writing.kept_attributes import keep_attributes
from kled_sync.files.writing.moving import move_directory, move_file
from kled_sync.files.writing.refusal import CHANGED, Refusal, trouble_of
from kled_sync.tree.entry import EXECUTABLE, TreeEntry, is_meant, make_directory
from kled_sync.tree.paths import ROOT, join, split

_NOT_EMPTY: Final = ("not_empty", "something that is not synced is in the directory")
_ALL: Final = 0o777
_OWN: Final = 0o700


class Placer:
    """Changes one root. Blocks; for one thread."""

    def __init__(
        self,
        root: Root,
        options: Options,
        memory: Memory,
        store: ChunkStore,
        staging: int,
        kept: KeptVersions | None,
        closed: ClosedDirectories,
    ) -> None:
        self._root, self._options, self._memory, self._closed = root, options, memory, closed
        self._store, self._staging, self._kept = store, staging, kept
        self.umask = _umask()
        self._can_exchange = True
        # Called with each directory that is made.
        self.watch: Callable[[bytes, int], None] | None = None
        self._number = 0

    def do(self, operation: Operation, staged: bytes, content: TreeEntry | None) -> None:
        """One operation; `staged` is the name of its file. Raises Refusal.

        What it opens for that stays open until `close_directories`.
        """
        try:
            try:
                self._do(operation, staged, content)
            except PermissionError:
                if not self._closed.open(_written(operation)):
                    raise
                self._do(operation, staged, content)
        except Refusal:
            self._memory.mark(operation.path)
            raise
        except OSError as exc:
            self._memory.mark(operation.path)
            raise Refusal(*trouble_of(exc)) from exc

    def close_directories(self) -> None:
        """Close those again that were opened for operations."""
        self._closed.close()

    def _do(self, operation: Operation, staged: bytes, content: TreeEntry | None) -> None:
        if content is not None:
            self._put(operation, staged, content)
            if operation.do is Do.HARD_LINK:  # which changes the time of change of both
                self._remember(*self._root.locate(operation.source), operation.source, content)
            return
        match operation.do:
            case Do.MAKE_DIRECTORY:
                self._make_directory(operation)
            case Do.LINK:
                self._put_link(operation)
            case Do.REMOVE:
                self._remove(operation)
            case Do.REMOVE_DIRECTORY:
                self._remove_directory(operation)
            case Do.DRESS:
                self._dress(operation)
            case Do.MOVE:
                self._move(operation)

    def _temporary(self) -> bytes:
        self._number += 1
        return b"tmp-%d" % self._number

    def mode_for(self, wanted: int, present: int | None, *, directory: bool = False) -> int:
        """What mode a file gets, from the sender's and that of the file it replaces."""
        mask = self._options.mode_mask
        if mask != EXECUTABLE:
            return wanted & mask & (_OWN if self._options.withhold else _ALL)
        # What is its owner's alone there does not become everybody's here.
        made = (_ALL if wanted & _ALL & ~_OWN else _OWN) & ~self.umask
        if directory:
            return made
        base = present if present is not None else 0o666 & made
        # Users who may read the file may execute it.
        runs = (base & 0o444) >> 2
        return base & ~0o111 | (runs if wanted & EXECUTABLE else 0)

    def make_directory(self, operation: Operation, above: int, name: bytes) -> None:
        """The operation's directory, as `name` in `above`. Raises OSError."""
        assert operation.new is not None
        mode = self.mode_for(operation.new.mode, None, directory=True) | _OWN
        os.mkdir(name, mode, dir_fd=above)
        if self._options.mode_mask != EXECUTABLE:
            os.chmod(name, mode, dir_fd=above)

    def _make_directory(self, operation: Operation) -> None:
        descriptor, name = self._root.locate(operation.path)
        try:
            self.make_directory(operation, descriptor, name)
        except FileExistsError:
            found = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            if not stat.S_ISDIR(found.st_mode):
                raise Refusal(*CHANGED) from None
        self.note_directory(operation.path)

    def note_directory(self, path: bytes) -> None:
        """Note a directory that is new. Raises OSError."""
        descriptor, name = self._root.locate(path)
        found = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
        self._memory.put(path, seen(make_directory(found.st_mode), found))
        self._memory.directories.add(path)
        if self.watch is not None:
            self.watch(path, self._root.directory(path))
            # Somebody may have been quicker than the watch.
            self._memory.dirty.add(path)
        if self._kept is not None:
            self._kept.note_made(path)

    def note_files(self, directory: bytes, files: dict[bytes, SeenEntry]) -> None:
        """They came with a new directory."""
        self._memory.fill(directory, files)
        if self._kept is not None:
            for name in files:
                self._kept.note_made(join(directory, name))

    def _move(self, operation: Operation) -> None:
        self._memory.mark(operation.source)
        if operation.old is not None and operation.old.is_directory:
            move_directory(operation, self._root, self._memory, self._store, self.watch)
        else:
            move_file(operation, self._root, self._memory, self._store)
        if self._kept is not None:
            self._kept.note_moved(operation.source, operation.path)

    def _put_link(self, operation: Operation) -> None:
        new, staged = operation.new, self._temporary()
        assert new is not None
        os.symlink(new.tail, staged, dir_fd=self._staging)
        times = (new.mtime_ns, new.mtime_ns)
        os.utime(staged, ns=times, dir_fd=self._staging, follow_symlinks=False)
        try:
            self._put(operation, staged, new)
        except (Refusal, OSError):
            with suppress(FileNotFoundError):
                os.unlink(staged, dir_fd=self._staging)
            raise

    def _put(self, operation: Operation, staged: bytes, content: TreeEntry) -> None:
        path, old = operation.path, operation.old
        descriptor, name = self._root.locate(path)
        if old is None:
            try:
                rename_new(self._staging, staged, descriptor, name)
            except FileExistsError:
                raise Refusal(*CHANGED) from None
            if self._kept is not None:
                self._kept.note_made(path)
            self._remember(descriptor, name, path, content)
        else:
            known = self._as_known(descriptor, name, operation)
            self._swap(staged, descriptor, name, known, path)
            self._remember(descriptor, name, path, content)
            self._let_go(staged, path, REPLACED)

    def _as_known(self, descriptor: int, name: bytes, operation: Operation) -> SeenEntry:
        """What we saw there, if it is there still and is what the session means."""
        known, old = self._memory.get(operation.path), operation.old
        assert old is not None
        if known is None or not is_meant(known.entry, old):
            raise Refusal(*CHANGED)
        try:
            found = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
        except FileNotFoundError:
            raise Refusal(*CHANGED) from None
        if not is_known(self._root, operation.path, known, found, self._store) and not (
            # A name that was taken from a file changes the time of change of its other names.
            operation.do is Do.HARD_LINK and self._is_same_again(known, found, operation)
        ):
            raise Refusal(*CHANGED)
        return known

    def _is_same_again(self, known: SeenEntry, found: os.stat_result, operation: Operation) -> bool:
        """Whether the file is what it was but for its time of change; read again if it was read."""
        entry = known.entry
        if not (entry.is_file and found.st_ino == known.inode and known.has_size_and_time(found)):
            return False
        if not entry.is_hashed:
            return True
        again = hash_file(self._root, operation.path, self._store)
        return again is not None and again.entry.tail == entry.tail

    def _swap(
        self, staged: bytes, descriptor: int, name: bytes, known: SeenEntry, path: bytes
    ) -> None:
        """Afterwards what was there has the staged file's name. Raises Refusal, OSError."""
        if self._can_exchange:
            try:
                exchange(self._staging, staged, descriptor, name)
            except OSError as exc:
                if exc.errno != errno.ENOSYS:
                    raise
                self._can_exchange = False
        if not self._can_exchange:
            self._swap_in_steps(staged, descriptor, name, known, path)
        elif not self._is_what_we_meant(staged, known):
            # Saved in the moment between. Theirs goes back, ours is not needed.
            exchange(self._staging, staged, descriptor, name)
            raise Refusal(*CHANGED)

    def _swap_in_steps(
        self, staged: bytes, descriptor: int, name: bytes, known: SeenEntry, path: bytes
    ) -> None:
        """The same where the system cannot exchange: for a moment nothing is there."""
        aside = self._temporary()
        os.rename(name, aside, src_dir_fd=descriptor, dst_dir_fd=self._staging)
        if not self._is_what_we_meant(aside, known):
            rename_new(self._staging, aside, descriptor, name)
            raise Refusal(*CHANGED)
        try:
            rename_new(self._staging, staged, descriptor, name)
        except FileExistsError:
            # Saved in that moment: theirs stays, and what was there before is a version of it.
            self._let_go(aside, path, REPLACED)
            raise Refusal(*CHANGED) from None
        os.rename(aside, staged, src_dir_fd=self._staging, dst_dir_fd=self._staging)

    def _is_what_we_meant(self, staged: bytes, known: SeenEntry) -> bool:
        found = os.stat(staged, dir_fd=self._staging, follow_symlinks=False)
        # Its time of change is that of the renaming now.
        same = found.st_ino == known.inode or not known.is_sure
        return same and (not known.is_file or known.has_size_and_time(found))

    def _let_go(self, staged: bytes, path: bytes, what: str) -> None:
        if self._kept is not None:
            self._kept.take(self._staging, staged, path, what)
        else:
            os.unlink(staged, dir_fd=self._staging)

    def _remember(self, descriptor: int, name: bytes, path: bytes, content: TreeEntry) -> None:
        """Remember what was put there; a later save is found by the next scan."""
        found = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
        what = seen(content, None)
        if content.is_file:
            what = placed_file(found, content)
        elif self._root.read_link(path) == content.tail:
            what = seen_link(found, content.tail)
        self._memory.put(path, what)

    def _remove(self, operation: Operation) -> None:
        descriptor, name = self._root.locate(operation.path)
        known = self._as_known(descriptor, name, operation)
        aside = self._temporary()
        os.rename(name, aside, src_dir_fd=descriptor, dst_dir_fd=self._staging)
        if not self._is_what_we_meant(aside, known):
            rename_new(self._staging, aside, descriptor, name)
            raise Refusal(*CHANGED)
        what = REPLACED if operation.source == operation.path else DELETED
        self._let_go(aside, operation.path, what)
        self._memory.remove(operation.path)

    def _remove_directory(self, operation: Operation) -> None:
        descriptor, name = self._root.locate(operation.path)
        self._root.forget()
        descriptor, name = self._root.locate(operation.path)
        try:
            os.rmdir(name, dir_fd=descriptor)
        except FileNotFoundError:
            pass
        except OSError as exc:
            if exc.errno in {errno.ENOTEMPTY, errno.EEXIST}:
                raise Refusal(*_NOT_EMPTY) from exc
            raise
        self._memory.remove(operation.path)

    def _dress(self, operation: Operation) -> None:
        """Mode and time alone."""
        path, new = operation.path, operation.new
        assert new is not None
        if new.is_directory:
            descriptor = self._root.directory(path)
            self._closed.let_be(descriptor)
            mode = self.mode_for(new.mode, None, directory=True)
            if self._options.mode_mask != EXECUTABLE:
                if operation.old is not None and mode != _mode_of(descriptor):
                    self._keep_attributes(path)
                os.fchmod(descriptor, mode)
            if new.mtime_ns:
                os.utime(descriptor, ns=(new.mtime_ns, new.mtime_ns))
            return
        descriptor, name = self._root.locate(path)
        known = self._as_known(descriptor, name, operation)
        opened = self._root.open_file(path)
        try:
            found = os.fstat(opened)
            mode = self.mode_for(new.mode, found.st_mode & _ALL)
            if mode != stat.S_IMODE(found.st_mode):
                self._keep_attributes(path)
                os.fchmod(opened, mode)
            os.utime(opened, ns=(new.mtime_ns, new.mtime_ns))
            # Read again: with the time that it has now a save in this moment would not show.
            entry = known.entry.with_mode(mode).with_time(new.mtime_ns)
            self._memory.put(path, seen(entry, None))
        finally:
            os.close(opened)

    def _keep_attributes(self, path: bytes) -> None:
        if self._kept is not None:
            everything = self._options.attributes
            keep_attributes(self._root, self._kept, path, everything=everything)

    def stage_reused(self, operation: Operation) -> tuple[bytes, TreeEntry]:
        """A staged file with the content of another of this side, or that file itself.

        Raises Refusal, OSError.
        """
        source = self._memory.get(operation.source)
        new = operation.new
        if source is None or new is None or not is_meant(source.entry, new):
            raise Refusal("base_gone", "the file it was to be copied from has changed")
        staged = self._temporary()
        opened = self._root.open_file(operation.source)
        try:
            found = os.fstat(opened)
            if not is_known(self._root, operation.source, source, found, self._store):
                self._memory.mark(operation.source)
                raise Refusal("base_gone", "the file it was to be copied from has changed")
            if operation.do is Do.HARD_LINK:
                return self._stage_link(operation.source, staged, source.entry), source.entry
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            out = os.open(staged, flags, 0o600, dir_fd=self._staging)
            try:
                copy_contents(opened, out)
                present = operation.old.mode if operation.old is not None else None
                dress(out, self.mode_for(new.mode, present), new.mtime_ns)
            finally:
                os.close(out)
        finally:
            os.close(opened)
        return staged, new

    def _stage_link(self, source: bytes, staged: bytes, entry: TreeEntry) -> bytes:
        descriptor, name = self._root.locate(source)
        os.link(
            name, staged, src_dir_fd=descriptor, dst_dir_fd=self._staging, follow_symlinks=False
        )
        self._remember(descriptor, name, source, entry)
        return staged


def _written(operation: Operation) -> list[bytes]:
    """The directories in which an operation changes something; a moved one has `..` in it."""
    paths = [operation.path]
    if operation.do is Do.MOVE:
        paths.append(operation.source)
    above = [split(path)[0] for path in paths if path != ROOT]
    return [*above, operation.source] if operation.do is Do.MOVE else above


def _mode_of(descriptor: int) -> int:
    return stat.S_IMODE(os.fstat(descriptor).st_mode)


def _umask() -> int:
    """There is no way to read it but to set it; this process has one thread that makes files."""
    found = os.umask(0o077)
    os.umask(found)
    return found
