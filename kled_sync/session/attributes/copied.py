"""What a copy brings over when the contents are there: hard links, owners, extended attributes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kled_sync.decide.attributes import (
    FACT,
    LINKED,
    AttributesToSet,
    AttributeWish,
    FileAttributes,
    change_of,
    leaders,
    letters,
)
from kled_sync.decide.modes import SyncSide
from kled_sync.decide.operations import Do, Operation
from kled_sync.decide.reconcile import PathChange, SyncTerms
from kled_sync.session.attributes.requests import (
    AT_ONCE,
    ask_attributes,
    ask_both,
    check_attributes_known,
    set_attributes,
)
from kled_sync.session.sides.side import Sides
from kled_sync.session.transfers.transfer import CarriedOut, Failure, SyncTransfer
from kled_sync.tree.entry import TreeEntry
from kled_sync.tree.paths import split


class AttributePass:
    """The second part of a copy from alpha to beta; nothing where nothing of it was wished."""

    def __init__(
        self,
        sides: Sides,
        transfer: SyncTransfer,
        terms: SyncTerms,
        wish: AttributeWish,
    ) -> None:
        self._sides = sides
        self._alpha, self._beta = sides[SyncSide.ALPHA], sides[SyncSide.BETA]
        self._transfer, self._terms, self._wish = transfer, terms, wish
        # Paths of one file, and the first of each: that is copied, the others are linked to it.
        self._leaders: dict[bytes, bytes] = {}

    def check(self) -> None:
        """Raises UnavailableError("sync_attributes_unknown") where a side is an older one."""
        if self._wish.sets_attributes or self._wish.hard_links:
            check_attributes_known(self._sides, FACT)

    async def find_links(self) -> None:
        """Learn which paths of the source are one file. Raises KledError."""
        if self._wish.hard_links:
            files = {path: entry for path, entry in self._source() if entry.is_file}
            there = {p for p, e in files.items() if e.is_arrived(self._beta.tree.get(p))}
            self._leaders = leaders(
                await ask_attributes(self._alpha, list(files), xattrs=False), there
            )

    def contents(self, actions: Sequence[PathChange]) -> list[PathChange]:
        """The actions that are to be carried out before `finish`: not what it makes links of."""
        return [a for a in actions if not self._is_link(a)] if self._leaders else list(actions)

    def _is_link(self, action: PathChange) -> bool:
        new, old = action.new, action.old
        leader = self._leaders.get(action.path, action.path)
        replaces = old is None or not old.is_directory
        return leader != action.path and new is not None and new.is_file and replaces

    async def finish(self, done: CarriedOut) -> None:
        """Link, then set what differs; what fails is added to `done`. Raises KledError."""
        await self._link(done)
        if not self._wish.sets_attributes:
            return
        failed = {failure.action.path for failure in done.failures}
        paths = [
            path
            for path, entry in self._source()
            if path not in failed and _is_like(entry, self._beta.tree.get(path))
        ]
        for some in _portions(paths):
            await self._set(some, done)

    def _source(self) -> Iterator[tuple[bytes, TreeEntry]]:
        """What may be brought over: not what git would run on the machine that is guarded."""
        guards = self._terms.guarded is SyncSide.BETA
        for path, entry in self._alpha.tree.walk():
            if not entry.is_frozen and not (guards and self._terms.guard(path, entry)):
                yield path, entry

    async def _link(self, done: CarriedOut) -> None:
        operations = await self._links(done)
        if operations:
            await self._transfer.place(SyncSide.BETA, operations, done)
            await self._transfer.place(SyncSide.BETA, self._times_of(operations), done)

    async def _links(self, done: CarriedOut) -> list[Operation]:
        there = [path for path in self._leaders if self._beta.tree.get(path) is not None]
        links = {f.path: f.link for f in await ask_attributes(self._beta, there, xattrs=False)}
        operations = []
        for path, leader in sorted(self._leaders.items()):
            new, old = self._beta.tree.get(leader), self._beta.tree.get(path)
            link = links.get(path, 0)
            if path == leader or (link and link == links.get(leader)):
                continue
            wanted = self._alpha.tree.get(leader)
            if new is None or wanted is None or not wanted.is_arrived(new):
                action = PathChange(SyncSide.BETA, path, wanted, old)
                done.failures.append(Failure(action, "base_gone", "its other name was not copied"))
            else:
                operations.append(Operation(Do.HARD_LINK, path, new, old, leader))
        return operations

    def _times_of(self, operations: Sequence[Operation]) -> list[Operation]:
        """What gives the directories in which something was linked the times they had."""
        found = []
        for path in sorted({split(operation.path)[0] for operation in operations}):
            entry = self._beta.tree.get(path)
            if entry is not None and entry.is_directory and entry.mtime_ns:
                found.append(Operation(Do.DRESS, path, entry, None))
        return found

    async def preview(self) -> dict[bytes, str]:
        """What `finish` would set of paths that both sides have: `decide.attributes.letters`."""
        found: dict[bytes, str] = {}
        links: dict[bytes, int] = {}
        if not (self._wish.sets_attributes or self._leaders):
            return found
        paths = [
            path
            for path, entry in self._source()
            if (there := self._beta.tree.get(path)) is not None and there.kind is entry.kind
        ]
        for some in _portions(paths):
            for source, target in await self._both(some):
                links[target.path] = target.link
                change = None if source.trouble or target.trouble else self._change(source, target)
                if change is not None:
                    found[source.path] = letters(change, target)
        for path, leader in self.links().items():
            if path in links and not (links[path] and links[path] == links.get(leader)):
                found[path] = found.get(path, "") + LINKED
        return found

    def links(self) -> dict[bytes, bytes]:
        """What `finish` makes another name of which path."""
        return {path: leader for path, leader in self._leaders.items() if path != leader}

    async def _both(self, paths: list[bytes]) -> list[tuple[FileAttributes, FileAttributes]]:
        """The attributes of each path at the source, and at the destination. Raises KledError."""
        return await ask_both(self._sides, paths, xattrs=self._wish.xattrs)

    def _change(self, source: FileAttributes, target: FileAttributes) -> AttributesToSet | None:
        entry = self._alpha.tree.get(source.path)
        permissions = self._terms.copies_mode(entry)
        return change_of(self._wish, source, target, permissions=permissions)

    async def _set(self, paths: list[bytes], done: CarriedOut) -> None:
        """Set those of one portion of the paths. Raises KledError."""
        changes = []
        for source, target in await self._both(paths):
            trouble = source.trouble or target.trouble
            if trouble:
                self._fail(source.path, trouble, done)
                continue
            change = self._change(source, target)
            if change is not None:
                changes.append(change)
        for path, words in (await set_attributes(self._beta, changes)).items():
            self._fail(path, words, done)

    def _fail(self, path: bytes, words: str, done: CarriedOut) -> None:
        entry = self._beta.tree.get(path)
        action = PathChange(SyncSide.BETA, path, entry, entry)
        done.failures.append(Failure(action, "attributes", words))


def _portions(paths: list[bytes]) -> Iterator[list[bytes]]:
    for at in range(0, len(paths), AT_ONCE):
        yield paths[at : at + AT_ONCE]


def _is_like(entry: TreeEntry, found: TreeEntry | None) -> bool:
    return found is not None and (entry.is_directory or entry.is_arrived(found))
