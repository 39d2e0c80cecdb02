"""The state of one side in a session."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Final

import trio

from kled_sync.decide.modes import SyncSide
from kled_sync.files.options import Options
from kled_sync.session.peer import Peer
from kled_sync.tree.entry import DIGEST_BYTES, Kind, check_entry, make_frozen
from kled_sync.tree.paths import ROOT
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
_GONE: Final = make_frozen(Kind.PROBLEM, "it went while it was looked at")


class SideState:
    """A peer, the tree it has told of, and the jobs that wait for it."""

    def __init__(self, peer: Peer, agreed: Tree) -> None:
        self.peer = peer
        self.tree = Tree()
        self.changed: set[bytes] = set()
        # What may have other attributes than before, where it is told that.
        self.touched: set[bytes] = set()
        self.facts: dict[str, Any] = {}
        # Which directory the root is; empty where that is not told.
        self.identity = b""
        self.root = b""
        self.partial: dict[bytes, tuple[int, bytes]] = {}
        self.dirty = trio.Event()
        self.watching: messages.Watching | None = None
        self.missed = 0
        self.entries = 0
        self._agreed = agreed
        self._jobs: dict[tuple[int, type[messages.Message]], _Wait] = {}
        peer.listener = self

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
                raise ProtocolError("sync_message_refused", "a root that is none")
        self.changed.add(ROOT)

    async def open(self, path: bytes, options: Options) -> None:
        """Raises KledError."""
        answer = await self.peer.ask(
            lambda number: messages.OpenRoot(request=number, root=path, options=options.plain())
        )
        assert isinstance(answer, messages.RootOpened)
        self.root, self.facts = answer.root, answer.facts
        for row in answer.partial:
            match row:
                case (bytes(name), int(size), bytes(digest)):
                    self.partial[name] = size, digest

    async def scan(self, *, everywhere: bool, directories: frozenset[bytes] = frozenset()) -> None:
        """Until `tree` is what the endpoint has. Raises KledError."""
        self.dirty = trio.Event()
        paths = messages.PathList(sorted(directories))
        answer = await self.peer.ask(
            lambda number: messages.Scan(request=number, everywhere=everywhere, directories=paths)
        )
        assert isinstance(answer, messages.Scanned)
        self.entries = answer.entries
        self.missed += answer.missed

    async def watch(self) -> None:
        """From now on `dirty` is set when something changed. Raises KledError."""
        answer = await self.peer.ask(lambda number: messages.Watch(request=number))
        assert isinstance(answer, messages.Watching)
        self.watching = answer

    async def hash(self, paths: list[bytes]) -> None:
        """Let the endpoint read these files. Raises KledError."""
        for asked in map(messages.PathList, _portions(paths)):
            answer = await self.peer.ask(
                lambda number, asked=asked: messages.Hash(request=number, paths=asked)  # type: ignore[misc]
            )
            assert isinstance(answer, messages.Hashed)
            found = dict(answer.found)
            for path in asked:
                # What is not told of has gone: it is left alone until the next look says so.
                if self.tree.get(path) is not None:
                    self.tree.put(path, found.get(path, _GONE))

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

    def expect(self, job: int, kind: type[messages.Message]) -> _Wait:
        """What a job's answer comes to."""
        wait = _Wait()
        self._jobs[job, kind] = wait
        return wait

    def forget_job(self, job: int, kind: type[messages.Message]) -> None:
        self._jobs.pop((job, kind), None)


class _Wait:
    """An answer that comes by the number of a job."""

    def __init__(self) -> None:
        self.event = trio.Event()
        self.answer: messages.Message | None = None
        # What was sent of new directories, by the number of the first file.
        self.files: dict[int, SuppliedFolder] = {}

    async def got(self) -> messages.Message:
        await self.event.wait()
        assert self.answer is not None
        return self.answer


def folding(sides: dict[SyncSide, SideState]) -> frozenset[SyncSide]:
    """Those of two open sides on which case makes no other name."""
    return frozenset(s for s, state in sides.items() if state.facts.get("folds_case") is True)


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
