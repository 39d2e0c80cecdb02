"""Scans the files below a root, and reports the directories that have changed.

Directories are read by descriptor from the one above, names that are known are only looked up. A
file is read here only where the sync would ask for it next: it was known and has changed, or it is
one of few. Files that moved are recognised by inode and times, and keep their digests.
"""

from __future__ import annotations

import gc
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from kled_sync.decide.folding import composed
from kled_sync.files.options import Options
from kled_sync.files.reading.chunk_store import ChunkStore
from kled_sync.files.reading.contents import hash_file, read_small
from kled_sync.files.reading.linked_names import LinkedNames
from kled_sync.files.reading.memory import (
    Memory,
    SeenEntry,
    is_settled,
    seen,
    seen_link,
    seen_problem,
    unread_file,
)
from kled_sync.files.root import DIRECTORY_FLAGS, FILE_FLAGS, Root
from kled_sync.ignore.rules import RULES_BYTES_MAX, RULES_FILE, Rules, is_ignored
from kled_sync.tree.entry import (
    Kind,
    is_link_target,
    make_directory,
    make_file,
    make_frozen,
)
from kled_sync.tree.paths import DEPTH_MAX, ROOT, STAGING_NAME, is_name, join, leads_inside, split

# How much one step of a scan reads of changed files before requests of the session are served.
_READ_BYTES: Final = 16 * 1024 * 1024
_ENTRIES_MAX: Final = 500_000
Stack = tuple[Rules, ...]
Entries = dict[bytes, SeenEntry]


class Scanner:
    """Looks at one root. Blocks; for one thread."""

    def __init__(self, root: Root, options: Options, memory: Memory, store: ChunkStore) -> None:
        self._root, self._options, self._memory, self._store = root, options, memory, store
        self._own = Rules(options.ignore)
        # Rules of each directory, those of the ones above with them, as they were last applied.
        self._stacks: dict[bytes, Stack] = {}
        self._rules: dict[bytes, tuple[SeenEntry, Rules]] = {}
        self._names: dict[bytes, tuple[int, int]] = {}
        self.linked = LinkedNames()
        self._device: int | None = None
        self._fresh: list[bytes] = []
        # The first look finds a million files that are new, of which none came from elsewhere.
        self._knows = False
        self._gone: dict[int, SeenEntry] = {}
        self._changed: dict[bytes, None] = {}
        self._known_changed: list[bytes] = []
        # Paths that are new or changed in any way in the last scan, if the session asks for them.
        self.touched: list[bytes] = []
        # Whether names are told in Unicode's form C, whatever the filesystem makes of them.
        self.composes = False
        # The names in the root that are looked at, if not all are.
        self.among = dict.fromkeys(options.only_names) or None
        # Called with each directory before its names are read.
        self.watch: Callable[[bytes, int], None] | None = None

    def scan(self, *, everywhere: bool, directories: tuple[bytes, ...] = ()) -> list[bytes]:
        """The directories whose entries changed; the root is `Memory.root`. Raises OSError."""
        memory = self._memory
        self._root.forget()
        self._changed, self._fresh, self._gone = {}, [], {}
        self._known_changed, self.touched = [], []
        self._knows = bool(memory.directories)
        wanted, memory.dirty = memory.dirty | set(directories), set()
        is_directory = memory.root is not None and memory.root.is_directory
        everywhere = everywhere or memory.all_dirty or not is_directory
        with _no_collection():
            if everywhere:
                memory.all_dirty = False
                self.linked.clear()
                self._scan_root()
                self.linked.take(set())
            elif ROOT in wanted:  # the directory above is not watched
                self._look_at_root()
            more = [] if everywhere else sorted(wanted)
            while more:
                for directory in more:
                    self._scan_again(directory)
                more = self.linked.take(wanted)
        self._recognise()
        self._read(read_new=not everywhere)
        return list(self._changed)

    def _scan_root(self) -> None:
        self._look_at_root()
        root = self._memory.root
        if root is not None and root.is_directory:
            self._enter(self._root.above, self._root.name, ROOT, (self._own,), deep=True)
        else:
            self._memory.directories.clear()

    def _look_at_root(self) -> None:
        found = self._root.stat(ROOT)
        old = self._memory.root
        if found is None:
            self._memory.remove(ROOT)
            return
        self._device = found.st_dev
        if self._options.attributes:
            self.touched.append(ROOT)
        self._memory.root = self._look(self._root.above, self._root.name, ROOT, found, old)
        self._memory.altered = self._memory.altered or self._memory.root != old

    def _scan_again(self, directory: bytes) -> None:
        """One directory, and what is new below it; nothing where it has gone."""
        if self._device is None:
            self._device = self._root.device()
        try:
            descriptor, name = self._root.locate(directory)
        except OSError:
            return  # the directory above has changed, and is dirty itself
        known = self._memory.get(directory)
        if known is not None and known.entry.is_directory:
            self._enter(descriptor, name, directory, self._stack_above(directory), deep=False)

    def _stack_above(self, directory: bytes) -> Stack:
        if directory == ROOT:
            return (self._own,)
        above = split(directory)[0]
        stack = self._stacks.get(above)
        if stack is None:
            stack = self._apply_rules(self._root.directory(above), above, self._stack_above(above))
        return stack

    def _enter(self, above: int, name: bytes, path: bytes, stack: Stack, *, deep: bool) -> None:
        try:
            descriptor = os.open(name, DIRECTORY_FLAGS, dir_fd=above)
        except OSError as exc:
            self._cannot_enter(path, above, name, exc)
            return
        try:
            self._directory(descriptor, path, stack, deep=deep)
        except PermissionError as exc:
            self._cannot_enter(path, above, name, exc)
        finally:
            os.close(descriptor)

    def _cannot_enter(self, path: bytes, above: int, name: bytes, exc: OSError) -> None:
        """Unreadable is said; gone, or no directory any more, the next look will see."""
        if not isinstance(exc, PermissionError):
            self._memory.mark(path)
            return
        found = os.stat(name, dir_fd=above, follow_symlinks=False)
        self._memory.directories.forget(path)
        self._memory.put(path, seen_problem(found, exc.strerror or "it cannot be read"))
        if path != ROOT:
            self._changed[split(path)[0]] = None

    def _directory(self, descriptor: int, path: bytes, stack: Stack, *, deep: bool) -> None:
        if self.watch is not None:
            self.watch(path, descriptor)
        before = self._memory.directories.children(path)
        names = self._list(descriptor, path, before)
        stack = self._apply_rules(descriptor, path, stack)
        again = self._stacks.get(path) != stack
        self._stacks[path] = stack
        after: dict[bytes, SeenEntry] = {}
        inside: list[bytes] = []
        for name in names:
            old = before.get(name)
            below = join(path, name)
            what = self._entry(descriptor, name, below, old, stack)
            if what is None:
                continue
            after[name] = what
            if what.is_directory and (deep or again or old is None or not what.is_same(old)):
                inside.append(name)
        if path == ROOT and self.among is not None:
            after |= {name: what for name, what in before.items() if name not in self.among}
        self._take(path, before, after)
        self.linked.look(path, descriptor)
        for name in inside:
            self._enter(descriptor, name, join(path, name), stack, deep=True)

    def _list(self, descriptor: int, path: bytes, before: dict[bytes, SeenEntry]) -> list[bytes]:
        """The names; from memory where the directory was not written to since they were read."""
        now = os.fstat(descriptor)
        stamp = (now.st_ctime_ns, now.st_ino)  # whoever unpacks sets the other time back
        if self._names.get(path) == stamp and path in self._memory.directories:
            return list(before)
        if path == ROOT and self.among is not None:
            return list(self.among)
        began = time.time_ns()
        names = os.listdir(descriptor)
        # Written to a moment ago: a name may come within the same tick of the clock.
        same = os.fstat(descriptor).st_ctime_ns == now.st_ctime_ns
        if same and is_settled(now.st_ctime_ns, began):
            self._names[path] = stamp
        else:
            self._names.pop(path, None)
        return list(map(composed if self.composes else bytes, map(os.fsencode, names)))

    def _entry(
        self, descriptor: int, name: bytes, path: bytes, old: SeenEntry | None, stack: Stack
    ) -> SeenEntry | None:
        if name == STAGING_NAME:
            return None
        try:
            found = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return None
        is_directory = stat.S_ISDIR(found.st_mode)
        if is_ignored(stack, path, name, is_directory=is_directory):
            return seen(make_frozen(Kind.IGNORED), None)
        is_still = old is not None and not is_directory and old.is_still(found)
        if found.st_nlink > 1 and not is_directory:
            self.linked.note(found.st_ino, split(path)[0], changed=not is_still)
        if is_still:
            return old
        return self._look(descriptor, name, path, found, old)

    def _look(
        self,
        descriptor: int,
        name: bytes,
        path: bytes,
        found: os.stat_result,
        old: SeenEntry | None,
    ) -> SeenEntry:
        mode = found.st_mode
        if path != ROOT and not is_name(name):
            return seen_problem(found, "it has a name that cannot be synced")
        if stat.S_ISREG(mode):
            what = unread_file(found)
            if old is not None and old.entry.is_file and old.entry.is_hashed:
                self._known_changed.append(path)
            elif (gone := self._gone.get(found.st_ino)) is not None and is_same_file(what, gone):
                return gone
            elif self._knows:
                self._fresh.append(path)
            return what
        if stat.S_ISDIR(mode):
            return self._look_at_directory(path, found)
        if stat.S_ISLNK(mode):
            return self._look_at_link(descriptor, name, path, found)
        return seen(make_frozen(Kind.OTHER, f"{_WORDS.get(stat.S_IFMT(mode), 'it')} is not copied"),
                    found)  # fmt: skip

    def _look_at_directory(self, path: bytes, found: os.stat_result) -> SeenEntry:
        if path == ROOT and self._options.only:
            return seen(make_directory(0), found)
        if found.st_dev != self._device:
            return seen_problem(found, "another filesystem is mounted there")
        if path.count(b"/") >= DEPTH_MAX:
            return seen_problem(found, "it is too deep in the tree")
        if found.st_nlink > _ENTRIES_MAX:
            return seen_problem(found, "too many directories are in it")
        changed_ns = found.st_mtime_ns if self._options.directory_times else 0
        return seen(make_directory(found.st_mode, changed_ns), found)

    def _look_at_link(
        self, descriptor: int, name: bytes, path: bytes, found: os.stat_result
    ) -> SeenEntry:
        if self._options.links == "ignore":
            return seen(make_frozen(Kind.IGNORED), None)
        target = os.readlink(name, dir_fd=descriptor)
        if not is_link_target(target):
            return seen_problem(found, "a link that leads nowhere")
        if self._options.links == "portable" and not leads_inside(path, target):
            return seen_problem(found, "a link that leads out of the folder")
        return seen_link(found, target)

    def _apply_rules(self, descriptor: int, path: bytes, stack: Stack) -> Stack:
        """`stack` with the rules of this directory; those of the session stay the strongest."""
        if not self._options.gitignore:
            return stack
        try:
            opened = os.open(RULES_FILE, FILE_FLAGS, dir_fd=descriptor)
        except OSError:
            self._rules.pop(path, None)
            return stack
        try:
            found = os.fstat(opened)
            if not stat.S_ISREG(found.st_mode):
                return stack
            began = time.time_ns()
            stamp = seen(make_file(0, found.st_mtime_ns, found.st_size), found)
            known = self._rules.get(path)
            if known is None or known[0] != stamp:
                text = read_small(opened, min(found.st_size, RULES_BYTES_MAX))
                known = (stamp, Rules(text, path))
                if is_settled(found.st_ctime_ns, began):
                    self._rules[path] = known
        finally:
            os.close(opened)
        return (*stack[:-1], known[1], stack[-1]) if known[1] else stack

    def _take(self, path: bytes, before: Entries, after: Entries) -> None:
        if self._options.attributes:
            now_ns = time.time_ns()
            self.touched += [
                join(path, name)
                for name, new in after.items()
                if not new.entry.is_frozen
                and (name not in before or new.may_differ(before[name], now_ns))
            ]
        if before == after:
            self._memory.directories.add(path)
            return
        for name, old in before.items():
            new = after.get(name)
            if old.is_directory and (new is None or not new.is_directory):
                self._remember_gone(join(path, name))
                self._memory.directories.forget(join(path, name))
            elif new is None:
                self._remember(old)
        self._memory.directories.set(path, after)
        self._memory.altered = True
        was, now = ({n: s[16:] for n, s in found.items()} for found in (before, after))
        if not before or was != now:
            self._changed[path] = None

    def _remember_gone(self, path: bytes) -> None:
        self.linked.left(path)
        for name, what in self._memory.directories.children(path).items():
            if what.is_directory:
                self._remember_gone(join(path, name))
            else:
                self._remember(what)

    def _remember(self, what: SeenEntry) -> None:
        if what.entry.is_file and what.entry.is_hashed:
            self._gone[int.from_bytes(what[8:16], "big")] = what

    def _recognise(self) -> None:
        """Give files that came from elsewhere in the tree the digests they had there.

        Those that went before they came were recognised when they were looked at.
        """
        if not self._gone:
            return
        for path in self._fresh:
            what = self._memory.get(path)
            old = self._gone.get(what.inode) if what is not None else None
            if what is not None and old is not None and is_same_file(what, old):
                self._memory.put(path, old)

    def _read(self, *, read_new: bool) -> None:
        """Read what changed, while it is not much."""
        paths = self._known_changed + (self._fresh if read_new else [])
        left = _READ_BYTES
        for path in paths:
            what = self._memory.get(path)
            if what is None or not what.entry.is_file or what.entry.is_hashed:
                continue
            left -= what.entry.size
            if left < 0:
                return
            read = hash_file(self._root, path, self._store)
            if read is None:
                self._memory.mark(path)
            else:
                self._memory.put(path, read)
                if path != ROOT:
                    self._changed[split(path)[0]] = None


_WORDS: Final = {
    stat.S_IFSOCK: "a socket",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def is_same_file(what: SeenEntry, old: SeenEntry) -> bool:
    """Whether `what`, which nobody read, is `old`, which was: same inode, times, size and mode."""
    return what == old[: len(what)]


@contextmanager
def _no_collection() -> Iterator[None]:
    """Millions of small objects and no cycles: the collector would only look at them."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
