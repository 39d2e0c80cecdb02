"""The state of one side in a session."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final, NamedTuple

import trio

from kled_sync.decide.folding import NameRules
from kled_sync.decide.modes import SyncSide
from kled_sync.decide.operations import Do, Operation
from kled_sync.files.options import Options
from kled_sync.session.sides.peer import Peer
from kled_sync.tree.entry import (
    DIGEST_BYTES,
    Kind,
    TreeEntry,
    check_entry,
    is_directory,
    is_meant,
    make_frozen,
)
from kled_sync.tree.packed import PackedEntries
from kled_sync.tree.paths import ROOT, join, split
from kled_sync.tree.tree import Tree, share_entries
from kled_sync.wire import messages
from kled_sync.wire.compression import NEAR, NEAR_S
from kled_sync.wire.filled import SuppliedFolder, parse_supplied
from kled_wire.errors import ProtocolError

_NEAR_TRIES: Final = 3
# No other work of a processor makes an answer so late: it need not be asked for again.
_FAR_S: Final = 0.02
# Of paths and digests in one request and its answer: far less than a message may have.
_HASH_BYTES: Final = 8 * 1024 * 1024
# Of a file handle (name_to_handle_at(2)) there are 128 bytes, and 8 before them.
_IDENTITY_BYTES_MAX: Final = 136
_AHEAD_MIN_S: Final = 2.0
_GONE: Final = make_frozen(Kind.PROBLEM, "it went while it was looked at")


class SideState:
    """A peer, the tree it has told of, and the jobs that wait for it."""

    def __init__(self, peer: Peer, agreed: Tree) -> None:
        self.peer = peer
        self.tree = Tree()
        self.changed: set[bytes] = set()
        # Paths whose attributes may have changed, where the endpoint tells that.
        self.touched: set[bytes] = set()
        self.facts: dict[str, Any] = {}
        # Identifies the directory that is the root; empty where the endpoint does not tell.
        self.identity = b""
        self.root = b""
        # How much its clock is ahead of ours.
        self.ahead_s = 0.0
        self.partial: dict[bytes, tuple[int, bytes]] = {}
        self.dirty = trio.Event()
        self.watching: messages.Watching | None = None
        self.missed = 0
        self.entries = self.linked = 0
        self._agreed = agreed
        self._jobs: dict[tuple[int, type[messages.Message]], JobWait] = {}
        peer.listener = self

    @property
    def is_awaited(self) -> bool:
        """Whether it is to answer a job."""
        return any(wait.is_asked and wait.answer is None for wait in self._jobs.values())

    def took(self, message: messages.Message) -> None:
        match message:
            case messages.Listing():
                self._list(message)
            case messages.RootIs():
                self._take_root(message)
            case messages.Touched():
                self.touched.update(message.paths)
            case messages.Dirty():
                self.dirty.set()
            case messages.Watching():
                self.watching = message
            case messages.FilesSupplied():
                wait = self._jobs.get((message.job, messages.Supplied))
                if wait is not None:
                    wait.files |= parse_supplied(message.rows)
            case messages.JobPlaced() | messages.Supplied():
                wait = self._jobs.get((message.job, type(message)))
                if wait is not None:
                    wait.answer = message
                    wait.event.set()

    def _list(self, message: messages.Listing) -> None:
        for wait in self._jobs.values():
            wait.told(message.directory)
        self.tree.put_children(message.directory, message.entries)
        share_entries(message.directory, (self._agreed, self.tree))
        self.changed.add(message.directory)

    def _take_root(self, message: messages.RootIs) -> None:
        match message.entry:
            case ():
                self.tree.remove(ROOT)
                self.identity = b""
            case ((entry,),):
                self.tree.put(ROOT, check_entry(entry))
            case ((entry, bytes(identity)),):
                self.tree.put(ROOT, check_entry(entry))
                self.identity = identity[:_IDENTITY_BYTES_MAX]
            case _:
                raise ProtocolError("sync_message_refused", "an invalid root")
        for wait in self._jobs.values():
            wait.told(None)
        self.changed.add(ROOT)

    async def open(self, path: bytes, options: Options) -> None:
        """Raises KledError."""
        plain = replace(options, tells_alive=True).plain()
        answer = await self.peer.ask(
            lambda number: messages.OpenRoot(request=number, root=path, options=plain),
            messages.RootOpened,
        )
        self.root, self.facts = answer.root, answer.facts
        self.ahead_s = _ahead_s(answer.facts)
        for row in answer.partial:
            match row:
                case (bytes(name), int(size), bytes(digest)):
                    self.partial[name] = size, digest

    async def scan(self, *, everywhere: bool, directories: frozenset[bytes] = frozenset()) -> None:
        """Scan until `tree` is what the endpoint has. Raises KledError."""
        self.dirty = trio.Event()
        paths = messages.PathList(sorted(directories))
        answer = await self.peer.ask(
            lambda number: messages.Scan(request=number, everywhere=everywhere, directories=paths),
            messages.Scanned,
        )
        self.entries, self.linked = answer.entries, answer.linked
        self.missed += answer.missed

    async def watch(self) -> None:
        """Let `dirty` be set from now on when something changes. Raises KledError."""
        self.watching = await self.peer.ask(
            lambda number: messages.Watch(request=number), messages.Watching
        )

    async def hash(self, paths: list[bytes]) -> None:
        """Let the endpoint read these files. Raises KledError."""
        for asked in map(messages.PathList, _portions(paths)):
            answer = await self.peer.ask(
                lambda number, asked=asked: messages.Hash(request=number, paths=asked),  # type: ignore[misc]
                messages.Hashed,
            )
            found = dict(answer.found)
            for path in asked:
                # What is not told of has gone: it is left alone until the next look says so.
                if self.tree.get(path) is not None:
                    self.tree.put(path, found.get(path, _GONE))

    async def placed(self, note: str) -> dict[bytes, TreeEntry]:
        """What a job of an earlier run put into place other than was planned. Raises KledError."""
        if not note or self.facts.get(messages.NOTES) is not True:
            return {}
        answer = await self.peer.ask(
            lambda number: messages.AskPlaced(request=number, note=note), messages.PlacedFound
        )
        return dict(answer.found)

    async def is_near(self) -> bool:
        """Whether it answers in `NEAR_S`, at the best of a few times. Raises KledError."""
        for _ in range(_NEAR_TRIES):
            began = time.monotonic()
            await self.hash([])
            taken_s = time.monotonic() - began
            if not NEAR_S <= taken_s < _FAR_S:
                return taken_s < NEAR_S
        return False

    async def expect_quick_link(self) -> None:
        """Let it send contents as for a link that is near. Raises KledError."""
        if self.facts.get(NEAR) is True:
            await self.peer.send(messages.LinkIsNear())

    def take(
        self, wait: JobWait, path: bytes, now: TreeEntry | None, before: TreeEntry | None
    ) -> None:
        """Put `now` at `path`, where `before` was, as the job's answer says.

        Nothing changes where a scan has found something else there meanwhile.
        """
        if wait.is_old(path) or not _is_still(self.tree.get(path), before):
            return
        if now is None:
            self.tree.remove(path)
        else:
            self.tree.put(path, now)

    def take_files(self, wait: JobWait, directory: bytes, files: PackedEntries) -> None:
        """`take` of files that are new in a directory."""
        if directory not in wait.looked:
            self.tree.fill(directory, files)
            return
        for name, entry in files.items():
            self.take(wait, join(directory, name), TreeEntry(entry), None)

    def take_sent(
        self,
        wait: JobWait,
        directory: bytes,
        files: PackedEntries,
        before: Iterable[TreeEntry | None],
    ) -> None:
        """`take` of the files of a directory as they were sent, in the order of `files`."""
        if directory not in wait.looked:
            if is_directory(self.tree.get(directory)):
                self.tree.renew(directory, files)
            return
        for (name, entry), was in zip(files.items(), before, strict=True):
            self.take(wait, join(directory, name), TreeEntry(entry), was)

    def expect(self, job: int, kind: type[messages.Message], *, is_asked: bool = True) -> JobWait:
        """What a job's answer comes to; `JobWait.is_asked` says whether it is asked for yet."""
        wait = JobWait()
        wait.is_asked = is_asked
        self._jobs[job, kind] = wait
        return wait

    def forget_job(self, job: int, kind: type[messages.Message]) -> None:
        self._jobs.pop((job, kind), None)


class JobWait:
    """An answer that comes by the number of a job."""

    def __init__(self) -> None:
        self.event = trio.Event()
        self.answer: messages.Message | None = None
        self.is_asked = True
        # Entries sent of new directories, by the number of the first file.
        self.files: dict[int, SuppliedFolder] = {}
        # Directories reported since it began, and since it answered; None is the root.
        self.looked: set[bytes | None] = set()
        self._told: set[bytes | None] = set()

    def told(self, directory: bytes | None) -> None:
        self.looked.add(directory)
        if self.answer is not None:
            self._told.add(directory)

    def is_old(self, path: bytes) -> bool:
        """Whether more is known of `path` than the answer says."""
        return (split(path)[0] if path != ROOT else None) in self._told

    async def got(self) -> messages.Message:
        await self.event.wait()
        assert self.answer is not None
        return self.answer


Sides = Mapping[SyncSide, SideState]


class JobNews(NamedTuple):
    """Both sides of a job, and their answers."""

    target: SideState
    source: SideState
    placed: JobWait
    supplied: JobWait

    def take(self, operation: Operation, new: TreeEntry | None, sent: TreeEntry | None) -> None:
        """Put the result at its path of the target, and what was sent at the path of the source."""
        path, old = operation.path, operation.old
        if operation.do is Do.DRESS and old is None:  # a directory, whatever its times were
            old = self.target.tree.get(path)
        self.target.take(self.placed, path, new, old)
        if sent is not None:
            self.source.take(self.supplied, path, sent, operation.new)


def _is_still(there: TreeEntry | None, before: TreeEntry | None) -> bool:
    """Whether no scan has found anything else than `before`."""
    if there is None or before is None:
        return there is before
    return is_meant(there, before) and (there.is_hashed or not before.is_hashed)


def _ahead_s(facts: dict[str, Any]) -> float:
    """How far the peer's clock is ahead; 0 for less than an answer may take."""
    theirs_s = facts.get("clock_s")
    ahead_s = theirs_s - time.time() if isinstance(theirs_s, float) else 0.0
    return ahead_s if abs(ahead_s) > _AHEAD_MIN_S else 0.0


def name_rules(sides: Sides) -> dict[SyncSide, NameRules]:
    """How two open sides treat names, of those that cannot have every name beside every other."""
    found = {
        side: NameRules(*(state.facts.get(rule) is True for rule in NameRules._fields))
        for side, state in sides.items()
    }
    return {side: rules for side, rules in found.items() if any(rules)}


def filesystem_of(facts: dict[str, Any]) -> int:
    """The number of the filesystem that a root is in; 0 where that is not known."""
    number = facts.get("filesystem")
    return number if isinstance(number, int) and 0 <= number < 2**64 else 0


def _portions(paths: list[bytes]) -> Iterator[list[bytes]]:
    portion: list[bytes] = []
    size = 0
    for path in paths:
        portion.append(path)
        size += len(path) + DIGEST_BYTES
        if size > _HASH_BYTES:
            yield portion
            portion, size = [], 0
    if portion or not paths:
        yield portion
