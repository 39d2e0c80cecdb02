"""The state of an endpoint that holds a root, and its operations on the root."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from kled_sync.decide.attributes import FACT as ATTRIBUTES
from kled_sync.decide.attributes import FACT_KEEPS, FACT_TOLD
from kled_sync.decide.folding import NameRules, composed
from kled_sync.endpoint.placing_job import JobContext
from kled_sync.files.closed import ClosedDirectories
from kled_sync.files.options import Options
from kled_sync.files.places import held, state_directory, state_rule
from kled_sync.files.reading.chunk_store import ChunkStore
from kled_sync.files.reading.contents import hash_in_steps
from kled_sync.files.reading.memory import Memory, SeenEntry
from kled_sync.files.reading.probing import probe_names
from kled_sync.files.reading.scanning import Scanner
from kled_sync.files.reading.snapshot import contents, load_snapshot, save_snapshot
from kled_sync.files.root import Root
from kled_sync.files.writing.kept import KeptVersions
from kled_sync.files.writing.large_arrival import hash_beginning, is_partial
from kled_sync.files.writing.placed_notes import PlacedNotes
from kled_sync.files.writing.placing import Placer
from kled_sync.files.writing.staging_directory import clear_staging, private_directory, staging
from kled_sync.tree.entry import TreeEntry
from kled_sync.tree.paths import ROOT
from kled_sync.watching.kernel import handle_of
from kled_sync.wire.compression import NEAR, STREAMS
from kled_sync.wire.filled import FILLS
from kled_sync.wire.messages import (
    NAMES_IN,
    NOTES,
    UNTIL,
    FoundEntries,
    Listing,
    Message,
    Named,
    PathList,
    RootIs,
    Rows,
    Scanned,
    Touched,
)
from kled_wire.errors import ConflictError, UnavailableError

# More names in a root are not told when it is opened.
_NAMES_MAX: Final = 1000
# A staged part is worth asking the sender about from here on.
_PARTIAL_BYTES: Final = 1024 * 1024
_PARTIAL_S: Final = 3 * 24 * 3600


def _open_state(stack: ExitStack, root: Root, options: Options, env: Mapping[str, str]) -> Path:
    """The directory of what is remembered of a root, held until the stack closes."""
    if options.transient:
        return Path(stack.enter_context(TemporaryDirectory(prefix="kled-")))
    state = state_directory(root.path, env)
    stack.enter_context(held(state, options.session, root.path))
    return state


def _open_staging(
    stack: ExitStack, root: Root, options: Options, state: Path, closed: ClosedDirectories
) -> int:
    """A descriptor of the directory where content arrives, until the stack closes."""
    if not options.reads_only:
        try:
            return stack.enter_context(staging(root, closed, transient=options.transient))
        except UnavailableError:
            if not options.is_source:
                raise
    descriptor = private_directory(state / "staging")
    stack.callback(os.close, descriptor)
    return descriptor


class HeldRoot:
    """One root. Blocks; for one thread. Raises KledError where it cannot be held."""

    def __init__(
        self,
        path: bytes,
        options: Options,
        env: Mapping[str, str],
        probe: Callable[[int], NameRules] = probe_names,
    ) -> None:
        self._stack = ExitStack()
        with self._stack as stack:
            root = stack.enter_context(Root(path, options))
            self.root, self.options = root, options
            self._state = _open_state(stack, root, options, env)
            closed = ClosedDirectories(root, self._state / "opened")
            self._staging = _open_staging(stack, root, options, self._state, closed)
            self._store = ChunkStore(self._state / "chunks")
            self.memory = Memory()
            self._load()
            self.kept: KeptVersions | None = None
            if options.keep and not options.transient:
                self.kept = KeptVersions(self._state / "kept")
                stack.callback(self.kept.close)
            self._names = probe(self._staging)
            rules = options.ignore + state_rule(root.path, env)
            seen = replace(options, ignore=rules)
            self.scanner = Scanner(root, seen, self.memory, self._store)
            self.scanner.composes = self._names.decomposes
            is_limited = bool(options.among) or options.among_alone
            if is_limited and not any(self._names):  # else another name may be in the way
                self.scanner.among = dict.fromkeys(options.among_names)
            self.context = JobContext(
                root=root,
                options=options,
                memory=self.memory,
                store=self._store,
                staging=self._staging,
                kept=self.kept,
                placer=Placer(
                    root, options, self.memory, self._store, self._staging, self.kept, closed
                ),
                notes=PlacedNotes(self._state / "placed"),
            )
            self._told = False
            self._told_identity: tuple[bytes, ...] = ()
            self._device = root.device()
            self._stack = stack.pop_all()

    def close(self) -> None:
        """Write what is remembered, let go of the root."""
        if not self.options.transient:
            with suppress(OSError):
                self.save()
            self._store.prune()
        self.let_go()
        self._stack.close()

    def let_go(self) -> None:
        """Keep no version any longer that is too old, and no more than may be kept."""
        if self.kept is not None:
            with suppress(OSError):
                self.kept.prune(time.time())

    def _snapshot_path(self) -> Path:
        return self._state / "snapshot"

    def _load(self) -> None:
        found = Memory()
        root = load_snapshot(self._snapshot_path(), found.take)
        if root is not None:
            found.root = SeenEntry(root) if root else None
            self.memory = found

    def save(self) -> None:
        """Write the snapshot, unless it is as it was read. Raises OSError."""
        if not self.memory.altered:
            return
        memory = self.memory
        save_snapshot(self._snapshot_path(), memory.root or b"", contents(memory.directories))
        self.memory.altered = False

    def facts(self) -> dict[str, Any]:
        """What the session is told of this side."""
        disk = os.fstatvfs(self._staging)
        found = self.root.stat(ROOT)
        is_directory = found is not None and stat.S_ISDIR(found.st_mode)
        return {
            # That of a device is another after a restart; statvfs(3). 0: it is not known.
            "filesystem": self._filesystem() if is_directory else 0,
            "there": found is not None,
            "directory": is_directory,
            "link": found is not None and stat.S_ISLNK(found.st_mode),
            "inside": self.root.is_inside,
            "names": True,  # `Options.only`, and all that a transient root is
            "moves": True,  # directories, as one
            "clock_s": time.time(),
            FILLS: True,
            **self._names._asdict(),
            ATTRIBUTES: True,
            FACT_TOLD: True,
            FACT_KEEPS: True,
            UNTIL: True,
            NEAR: True,
            STREAMS: True,
            NOTES: True,
            "free_bytes": disk.f_bavail * disk.f_frsize,
            **({NAMES_IN: self._names_in()} if self.options.tells_names and is_directory else {}),
        }

    def _names_in(self) -> list[bytes] | None:
        """The names in the root as a scan lists them; None where they are too many, or unknown."""
        try:
            names = [os.fsencode(name) for name in os.listdir(self.root.directory(ROOT))]  # noqa: PTH208
        except OSError:
            return None
        if len(names) > _NAMES_MAX:
            return None
        return [composed(name) if self.scanner.composes else name for name in names]

    def probe_directory(self) -> int | None:
        """A descriptor of a directory of ours in the root's filesystem; None where that is not."""
        is_there = self.root.device() in {None, os.fstat(self._staging).st_dev}
        return self._staging if is_there else None

    def _filesystem(self) -> int:
        try:
            return os.fstatvfs(self.root.directory(ROOT)).f_fsid
        except OSError:
            return 0

    def _identity(self) -> tuple[bytes, ...]:
        """Which directory the root is, where the session asked for that and it is one."""
        found = self.root.stat(ROOT) if self.options.identify else None
        if found is None or not stat.S_ISDIR(found.st_mode):
            return ()
        with suppress(OSError):
            return (handle_of(self.root.above, self.root.name),)
        return (b"%d" % found.st_ino,)

    def _check_place(self) -> None:
        """Raises UnavailableError("sync_place_changed"), ConflictError("sync_root_moved")."""
        if not self.root.is_in_place():
            raise UnavailableError(
                "sync_place_changed",
                f"the directory above {os.fsdecode(self.root.path)} was moved or unmounted",
                hint="put it back, or start a sync of the folder where it is now",
            )
        device = self.root.device()
        if None not in {device, self._device} and device != self._device:
            where = os.fsdecode(self.root.path)
            raise ConflictError(
                "sync_root_moved",
                f"another filesystem is mounted at {where} now",
                hint="unmount it, or kled sync resume --accept",
            )
        self._device = self._device if device is None else device

    def partial(self) -> Rows:
        """Staged parts of large files: name, bytes, their digest. Everything else is removed."""
        rows = []
        keep = set()
        oldest = time.time() - _PARTIAL_S
        for text in os.listdir(self._staging):  # noqa: PTH208  # a descriptor
            name = os.fsencode(text)
            found = os.stat(name, dir_fd=self._staging, follow_symlinks=False)
            if is_partial(name) and found.st_size >= _PARTIAL_BYTES and found.st_mtime > oldest:
                keep.add(name)
                descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=self._staging)
                try:
                    digest = hash_beginning(descriptor, found.st_size).digest()
                finally:
                    os.close(descriptor)
                rows.append((name, found.st_size, digest))
        clear_staging(self._staging, frozenset(keep))
        return Rows(rows)

    def scan(
        self, request: int, *, everywhere: bool, directories: tuple[bytes, ...]
    ) -> Iterator[Message]:
        """Listings of what changed since the last scan; of everything, the first time."""
        self._check_place()
        root_before = self.memory.root
        if self._told and self._identity() != self._told_identity:
            everywhere = True  # whatever was known of the one before
        known_dirty = set(self.memory.dirty) | set(directories)
        audited = everywhere and self._told and not self.memory.all_dirty
        changed = self.scanner.scan(everywhere=everywhere, directories=directories)
        missed = len(set(changed) - known_dirty) if audited else 0
        if not self._told:
            changed = [path for path in self.memory.directories if self._is_looked_at(path)]
        root, identity = self.memory.root, self._identity()
        if not self._told or _entry(root) != _entry(root_before) or identity != self._told_identity:
            yield RootIs(entry=Rows(() if root is None else [(bytes(root.entry), *identity)]))
        if self._told and self.scanner.touched:
            yield Touched(paths=PathList(self.scanner.touched))
        self._told, self._told_identity = True, identity
        for directory in changed:
            yield Listing(directory=directory, entries=self._listed(directory))
        linked = len(self.scanner.linked) if self.options.tells_links else 0
        yield Scanned(request, entries=self.memory.count(), missed=missed, linked=linked)

    def _is_looked_at(self, path: bytes) -> bool:
        among = self.scanner.among
        return among is None or not path or path.partition(b"/")[0] in among

    def _listed(self, directory: bytes) -> Named:
        entries = self.memory.entries(directory)
        if directory == ROOT and self.scanner.among is not None:
            return Named((n, entry) for n, entry in entries.items() if self._is_looked_at(n))
        return entries

    def hash(self, path: bytes) -> Generator[bool, None, bool]:
        """Read the file at `path`; whether it is there. Yields now and then."""
        self.root.forget()
        known = self.memory.get(path)
        found = yield from hash_in_steps(self.root, path, self._store)
        if self.memory.get(path) != known:
            return True  # a scan has found something else meanwhile, and tells of it
        if found is None:
            self.memory.mark(path)
            return False
        if known is None:
            return False
        self.memory.put(path, found)
        if not found.is_sure and found.entry.is_frozen:
            self.memory.mark(path)
        return True

    def known(self, paths: Iterable[bytes]) -> FoundEntries:
        """What is known of `paths` by now."""
        found = ((path, self.memory.get(path)) for path in paths)
        return FoundEntries((path, what.entry) for path, what in found if what is not None)


def _entry(what: SeenEntry | None) -> TreeEntry | None:
    return what.entry if what is not None else None
