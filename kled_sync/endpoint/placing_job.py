"""One job of operations on the side that changes: stages it, makes it durable, executes it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from kled_sync.decide.operations import Do, Operation
from kled_sync.files.options import Options
from kled_sync.files.reading.chunk_store import ChunkStore
from kled_sync.files.reading.chunking import CHUNKED_BYTES
from kled_sync.files.reading.memory import Memory
from kled_sync.files.root import Root
from kled_sync.files.system import sync_filesystem
from kled_sync.files.writing.building import BuiltDirectories
from kled_sync.files.writing.filling import Filling, StagingPlace
from kled_sync.files.writing.kept import KeptVersions
from kled_sync.files.writing.large_arrival import LargeArrival
from kled_sync.files.writing.placed_notes import PlacedNotes
from kled_sync.files.writing.placing import Placer
from kled_sync.files.writing.refusal import Refusal
from kled_sync.files.writing.room import room_bytes
from kled_sync.files.writing.staging import StagedFile, Staging
from kled_sync.tree.entry import DIGEST_BYTES, TreeEntry, check_entry
from kled_sync.tree.paths import ROOT, check_path, is_below, join, split
from kled_sync.tree.tree import is_or_is_below
from kled_sync.wire.filled import FILES_MAX, NO_FILES, filled, parse_files
from kled_sync.wire.job_stream import JobDecompressor
from kled_sync.wire.messages import JobPlaced, PathList, Rows
from kled_wire.errors import ProtocolError

# Up to so many files are made durable one by one: a `syncfs` also writes what all other programs
# wrote.
_FEW: Final = 8
_STEP: Final = 100
_DO: Final[dict[object, Do]] = {do.value: do for do in Do}
# The length of an operation's row, without and with files.
_ROW_LENGTHS: Final = (5, 7)
_STAGED_HERE: Final = frozenset({Do.REUSE, Do.HARD_LINK})


def parse_operations(rows: Iterable[tuple[object, ...]]) -> list[Operation]:
    """The operations of one job. Raises ProtocolError."""
    operations = [parse_operation(row) for row in rows]
    if sum(len(o.files.names) for o in operations) > FILES_MAX:
        raise ProtocolError("sync_message_refused", "too many files in one job")
    return operations


def parse_operation(row: tuple[object, ...]) -> Operation:
    """Raises ProtocolError."""
    if len(row) not in _ROW_LENGTHS or row[0] not in _DO:
        raise ProtocolError("sync_message_refused", "an invalid operation")
    number, path, new, old, source, *files = row
    do = _DO[number]
    operation = Operation(
        do,
        check_path(path),
        None if new is None else check_entry(new),
        None if old is None else check_entry(old),
        check_path(source) if source else ROOT,
        parse_files(*files) if files else NO_FILES,
    )
    removes = do is Do.REMOVE or do is Do.REMOVE_DIRECTORY
    if (new is None) is not removes or (removes and old is None):
        raise ProtocolError("sync_message_refused", f"{do.name} of nothing")
    if do is Do.REMOVE_DIRECTORY and not path:
        raise ProtocolError("sync_message_refused", "the root itself is not removed")
    if files and do is not Do.MAKE_DIRECTORY:
        raise ProtocolError("sync_message_refused", f"{do.name} with files")
    if do is Do.MOVE and not _is_move(operation):
        raise ProtocolError("sync_message_refused", "an invalid move")
    return operation


def _is_move(operation: Operation) -> bool:
    """Whether it says of two directories, neither in the other, what there is to be moved."""
    path, source, new, old = operation.path, operation.source, operation.new, operation.old
    if new is None or old is None or not (new.is_directory and old.is_directory):
        return False
    return not (is_or_is_below(path, source) or is_below(source, path))


@dataclass(frozen=True, slots=True, kw_only=True)
class JobContext:
    """What every job needs: the root, its options, and where content is kept."""

    root: Root
    options: Options
    memory: Memory
    store: ChunkStore
    staging: int
    kept: KeptVersions | None
    placer: Placer
    notes: PlacedNotes
    # Held by the thread that calls the system for many files: two of them at once would spend
    # more on handing the interpreter to each other than on the files.
    turn: threading.Lock = field(default_factory=threading.Lock)


class PlacingJob:
    """Made by the thread that reads, which also feeds it; then finished by the other."""

    def __init__(
        self,
        job: int,
        operations: list[Operation],
        context: JobContext,
        base: Root,
        note: str = "",
    ) -> None:
        """`note` is the name of the note to be made; empty for none."""
        self.job = job
        self._note = note
        self.stream = JobDecompressor()
        self._operations, self._context = operations, context
        self._failed: list[tuple[int, str, str]] = []
        self._base = base
        placer = context.placer
        self._built = BuiltDirectories(context.staging, job, operations, placer)
        # Those of built directories by the number of the directory, and files that come singly.
        self._fillings: dict[int, Filling] = {}
        self._files = {n: o for n, o in enumerate(operations) if o.do is Do.CONTENT}
        places = {o.path: number for number, o in enumerate(operations)}
        for first, operation in filled(operations):
            staged, names = self._built.name_of(operation.path), operation.files.names
            if staged is None:
                paths = (join(operation.path, name) for name in names)
                self._files |= {n: _arriving(path) for n, path in enumerate(paths, first)}
            else:
                self._fillings[places[operation.path]] = Filling(first, names, staged)
        arrivals = {
            number: StagedFile(o.old.mode if o.old is not None and o.old.is_file else None)
            for number, o in self._files.items()
        }
        self.staging = Staging(
            StagingPlace(context.staging, job, placer.umask),
            arrivals,
            list(self._fillings.values()),
            store=context.store,
            mode_for=placer.mode_for,
            large=self._large,
        )

    def _large(self, number: int) -> LargeArrival:
        """With the version that is here now, if the sender may refer to that."""
        path, old = self._files[number].path, self._files[number].old
        large = LargeArrival(self._context.staging, path)
        if old is not None and old.is_file and old.size >= CHUNKED_BYTES:
            self._base.forget()
            with suppress(OSError):
                large.base = self._base.open_file(path)
            chunks = self._context.store.load(old.tail) if len(old.tail) == DIGEST_BYTES else None
            if chunks is not None:
                large.base_chunks = chunks.by_offset()
        return large

    @property
    def turn(self) -> threading.Lock:
        return self._context.turn

    @property
    def is_staged(self) -> bool:
        return self.staging.left == 0

    def missing_bytes(self) -> int:
        """How much less is free than what is to come."""
        wanted = sum(
            o.new.size if o.do is Do.CONTENT and o.new is not None else o.files.size
            for o in self._operations
        )
        return max(0, wanted - room_bytes(self._context.staging))

    def refuse(self, words: str) -> None:
        """Take no contents: there is no room for them."""
        self.staging.refuse(("no_space", words))

    def finish(self) -> Iterator[None]:
        """Do the operations whose contents are here. Yields now and then."""
        self._context.root.forget()
        ready = list(self._ready())
        staged = [name for _, _, name, _ in ready if name]
        for filling in self._fillings.values():
            staged += [name for _, _, name, _ in filling.each()]
            self._failed += ((number, *trouble) for number, trouble in filling.troubles.items())
        if self._note:
            self._make_note(ready)
        self._make_durable(staged)
        for at in range(0, len(ready), _STEP):
            with self._context.turn:
                try:
                    self._place(ready[at : at + _STEP])
                finally:  # nobody else is to see them open
                    self._context.placer.close_directories()
            yield
        self._built.clear()
        if self._context.options.durable == "batch" and len(ready) > _FEW:
            sync_filesystem(self._context.staging)
        elif self._context.options.durable != "none":
            self._sync_directories(ready)
        if self._context.kept is not None:
            with suppress(OSError):  # which costs room, and no change
                self._context.kept.tidy()

    def _make_note(self, ready: list[tuple[int, Operation, bytes, TreeEntry | None]]) -> None:
        """Say what is to be put into place where the session cannot know that before the answer."""
        coming = [
            (operation.path, content)
            for _, operation, _, content in ready
            if operation.do is Do.CONTENT and content is not None
            if operation.new is None or not content.startswith(operation.new)
        ]
        for number, filling in self._fillings.items():
            above = self._operations[number].path
            coming += ((join(above, name), what.entry) for name, what in filling.came().items())
        if coming:
            with suppress(OSError):  # then what is there after a crash may be a conflict
                self._context.notes.write(self._note, coming)

    def _place(self, ready: list[tuple[int, Operation, bytes, TreeEntry | None]]) -> None:
        for number, operation, staged, content in ready:
            filling = self._fillings.get(number)
            if self._is_built(operation):
                if filling is not None:
                    self._context.placer.note_files(operation.path, filling.came())
                continue
            self._do(number, operation, staged, content)
            if filling is not None:
                for file, name, made, entry in filling.each():
                    self._do(file, _arriving(join(operation.path, name)), made, entry)

    def _do(
        self, number: int, operation: Operation, staged: bytes, content: TreeEntry | None
    ) -> None:
        try:
            self._context.placer.do(operation, staged, content)
        except Refusal as exc:
            self._fail(number, exc.code, exc.words)
            self._discard(staged)

    def _is_built(self, operation: Operation) -> bool:
        """Whether it is a directory that was built, and is in place with all in it."""
        if operation.do is Do.MAKE_DIRECTORY:
            with suppress(OSError):
                return self._built.put_directory(self._context.root, operation)
        return False

    def _ready(self) -> Iterator[tuple[int, Operation, bytes, TreeEntry | None]]:
        loose = {n: o for n, o in self._files.items() if n >= len(self._operations)}
        for number, operation in (*enumerate(self._operations), *loose.items()):
            if operation.do is Do.CONTENT:
                arrival = self.staging.arrivals[number]
                if arrival.trouble is not None or not arrival.done:
                    self._fail(number, *(arrival.trouble or ("dropped", "it did not come")))
                else:
                    yield number, operation, arrival.name, arrival.entry
            elif operation.do in _STAGED_HERE:
                try:
                    yield number, operation, *self._context.placer.stage_reused(operation)
                except Refusal as exc:
                    self._fail(number, exc.code, exc.words)
                except OSError as exc:
                    self._fail(number, "base_gone", exc.strerror or str(exc))
            else:
                yield number, operation, b"", None

    def _make_durable(self, staged: list[bytes]) -> None:
        """Before a name leads to a file, its bytes are on the disk."""
        policy = self._context.options.durable
        if policy == "none" or not staged:
            return
        if policy == "batch" and len(staged) > _FEW:
            sync_filesystem(self._context.staging)
            return
        for name in staged:
            with suppress(FileNotFoundError):  # which is said when it is to be placed
                _sync(os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=self._context.staging))

    def _sync_directories(
        self, ready: list[tuple[int, Operation, bytes, TreeEntry | None]]
    ) -> None:
        paths = {o.path for _, o, _, _ in ready} | {
            o.source for _, o, _, _ in ready if o.do is Do.MOVE
        }
        paths |= {join(o.path, o.files.names[0]) for _, o in filled(self._operations)}
        # One of each directory; the root has a name in the one it is in.
        for path in {split(path)[0] if path else None: path for path in paths}.values():
            with suppress(OSError):
                descriptor, _ = self._context.root.locate(path)
                os.fsync(descriptor)

    def _discard(self, staged: bytes) -> None:
        if staged:
            with suppress(FileNotFoundError):
                os.unlink(staged, dir_fd=self._context.staging)

    def _fail(self, number: int, code: str, words: str) -> None:
        self._failed.append((number, code, words))

    def abandon(self) -> None:
        """Forget it; what is staged of large files stays for another time."""
        for arrival in self.staging.arrivals.values():
            arrival.close()

    def answer(self) -> JobPlaced:
        kept = self._context.kept
        too_large = PathList(kept.too_large if kept is not None else ())
        if kept is not None:
            kept.too_large = []
        return JobPlaced(job=self.job, failed=Rows(self._failed), too_large=too_large)


def _arriving(path: bytes) -> Operation:
    """The operation for a single new file of a directory that was not built apart."""
    return Operation(Do.CONTENT, path, None, None)


def _sync(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
