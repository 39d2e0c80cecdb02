"""Executes actions: sends jobs to one side with contents from the other, collects the results."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Final, NamedTuple

import trio

from kled_sync.decide.modes import SyncSide
from kled_sync.decide.moves import DirectoryMove, find_moves
from kled_sync.decide.operations import (
    Do,
    Operation,
    SyncJob,
    is_last,
    plan,
    portions,
)
from kled_sync.decide.reconcile import PathChange
from kled_sync.files.reading.chunking import CHUNKED_BYTES
from kled_sync.files.writing.large_arrival import partial_name
from kled_sync.session.agreed.agreement import NOTE_LENGTH, Agreement
from kled_sync.session.sides.side import JobNews, JobWait, SideState
from kled_sync.session.transfers.jobs import failed_in, place_message
from kled_sync.session.transfers.moving import move_directories
from kled_sync.tree.entry import TreeEntry
from kled_sync.tree.packed import PackedEntries
from kled_sync.tree.paths import join
from kled_sync.wire import messages
from kled_sync.wire.blocks import WireBlock
from kled_sync.wire.compression import STREAMS
from kled_sync.wire.filled import FILLS, FolderItem, SuppliedFolder, filled

# Enough that neither end waits for the other's answer, and contents of few jobs wait staged.
_JOBS_AT_ONCE: Final = 4
# How often progress is reported.
_SAY_S: Final = 0.05
# What is sent again by itself: without the version that it was put together from.
AGAIN: Final = frozenset({"damaged", "base_gone"})


class Failure(NamedTuple):
    """An action that was not done."""

    action: PathChange
    code: str
    words: str


@dataclass(slots=True, kw_only=True)
class CarriedOut:
    """The actions that were carried out, and those that failed."""

    actions: list[PathChange] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    too_large: list[bytes] = field(default_factory=list)
    content_bytes: int = 0
    under_way: set[bytes] = field(default_factory=set)


@dataclass(slots=True, kw_only=True)
class SyncMeter:
    """Counts what is being transferred; bytes are those of files, not of the wire."""

    files: int = 0
    files_done: int = 0
    total_bytes: int = 0
    done_bytes: int = 0
    changed: Callable[[], None] = lambda: None
    # Of the totals, what was counted before it was planned.
    _foreseen_files: int = 0
    _foreseen_bytes: int = 0
    _say_at: float = 0.0

    def show_by(self, update: Callable[[int, int | None, str], None]) -> None:
        """Call `update` at each change: bytes done, of how many (None: unknown), files in words."""
        self.changed = lambda: update(
            self.done_bytes, self.total_bytes or None, f"{self.files_done}/{self.files} files"
        )

    def moved(self, size: int) -> None:
        """Count `size` bytes as sent; reports progress every `_SAY_S` at most."""
        self.done_bytes = min(self.total_bytes, self.done_bytes + size)
        now = time.monotonic()
        if now >= self._say_at:
            self._say_at = now + _SAY_S
            self.changed()

    def foresee(self, files: int, size: int) -> None:
        """So much will be planned later."""
        self.plan(files, size)
        self._foreseen_files += files
        self._foreseen_bytes += size

    def plan(self, files: int, size: int) -> None:
        """So much is to be transferred now."""
        known_files, known_bytes = min(files, self._foreseen_files), min(size, self._foreseen_bytes)
        self._foreseen_files -= known_files
        self._foreseen_bytes -= known_bytes
        self.files += files - known_files
        self.total_bytes += size - known_bytes


class SyncTransfer:
    """Carries out actions between two sides."""

    def __init__(
        self,
        sides: dict[SyncSide, SideState],
        agreement: Agreement,
        mode_mask: int,
        meter: SyncMeter | None = None,
    ) -> None:
        self._sides, self._agreement, self._mode_mask = sides, agreement, mode_mask
        self.meter = meter or SyncMeter()
        self._numbers = count(1)
        # Paths that are under way: what is decided of them meanwhile has to wait.
        self.in_flight: set[bytes] = set()
        # Called with those that no longer are.
        self.released: Callable[[set[bytes]], None] = lambda _paths: None
        self._without_base: set[bytes] = set()
        for side, state in sides.items():
            state.peer.pass_on(sides[side.other].peer, self._passed)

    def _passed(self, block: WireBlock) -> None:
        self.meter.moved(block.raw_bytes)

    async def carry_out(self, actions: Sequence[PathChange], *, urgent: bool) -> CarriedOut:
        """All that can be done; what could not is in `failures`. Raises KledError."""
        done = CarriedOut(under_way={action.path for action in actions})
        self.in_flight |= done.under_way
        try:
            async with trio.open_nursery() as nursery:
                for side in SyncSide:
                    own = [action for action in actions if action.side is side]
                    if own:
                        nursery.start_soon(self._one_side, side, own, urgent, done)
        finally:
            self._release(set(done.under_way), done)
        self._agreement.flush()
        return done

    async def _one_side(
        self, side: SyncSide, actions: list[PathChange], urgent: bool, done: CarriedOut
    ) -> None:
        moves = await self._move(side, actions, urgent)
        told = [action for move in moves for action in move.told]
        done.actions.extend(told)
        moved = {action.path for move in moves for action in move.actions}
        self._release(moved, done)
        by_path = {action.path: action for action in actions if action.path not in moved}
        fills = self._has_everywhere(FILLS)
        steps = plan(list(by_path.values()), self._sides[side].tree, told, fills=fills)
        self.meter.plan(
            sum(a.new is not None and not a.new.is_directory for a in by_path.values()),
            sum(job.content_bytes for step in steps for job in step),
        )
        for step in steps:
            limiter = trio.CapacityLimiter(_JOBS_AT_ONCE)
            async with trio.open_nursery() as nursery:
                for job in step:
                    await limiter.acquire_on_behalf_of(job)
                    nursery.start_soon(self._job, side, job, by_path, urgent, done, limiter)

    def _has_everywhere(self, fact: str) -> bool:
        return all(state.facts.get(fact) is True for state in self._sides.values())

    async def place(
        self, side: SyncSide, operations: Sequence[Operation], done: CarriedOut
    ) -> None:
        """Operations that no change of the trees led to. Raises KledError."""
        by_path = {
            o.path: PathChange(side, o.path, o.new, o.old)
            for o in operations
            if o.do is not Do.DRESS
        }
        for job in portions(operations):
            limiter = trio.CapacityLimiter(1)
            await limiter.acquire_on_behalf_of(job)
            await self._job(side, job, by_path, urgent=False, done=done, limiter=limiter)

    async def _move(
        self, side: SyncSide, actions: list[PathChange], urgent: bool
    ) -> list[DirectoryMove]:
        """Directories that could be moved as they are, and were."""
        moves = find_moves(actions, self._sides[side].tree, self._mode_mask)
        return await self.move(side, moves, urgent=urgent)

    async def move(
        self, side: SyncSide, moves: Iterable[DirectoryMove], *, urgent: bool
    ) -> list[DirectoryMove]:
        """Return those of `moves` that were done; others change nothing. Raises KledError."""
        target = self._sides[side]
        found = list(moves) if target.facts.get("moves") is True else []
        if not found:
            return []
        return await move_directories(
            next(self._numbers), found, target, side, self._agreement, urgent=urgent
        )

    async def _job(
        self,
        side: SyncSide,
        job: SyncJob,
        by_path: dict[bytes, PathChange],
        urgent: bool,
        done: CarriedOut,
        limiter: trio.CapacityLimiter,
    ) -> None:
        number = next(self._numbers)
        target, source = self._sides[side], self._sides[side.other]
        placed = target.expect(number, messages.JobPlaced)
        # The target may take long to take the job, and the source is not asked before.
        supplied = source.expect(number, messages.Supplied, is_asked=False)
        try:
            note = ""
            if self._agreement.remembers:
                is_noted = target.facts.get(messages.NOTES) is True
                note = os.urandom(NOTE_LENGTH // 2).hex() if is_noted else ""
                self._agreement.intend(side, _brought(job, by_path), note)
            await target.peer.send(place_message(number, job, urgent=urgent, note=note))
            items = self._items(job, target)
            if items:
                await source.peer.send(
                    messages.Supply(number, urgent, items, streams=self._has_everywhere(STREAMS))
                )
                supplied.is_asked = True
            answer = await placed.got()
            assert isinstance(answer, messages.JobPlaced)
            if items:
                if answer.failed and supplied.answer is None:  # nobody awaits the rest
                    await source.peer.send(messages.Drop(job=number))
                await supplied.got()
            self._take((placed, supplied), side, job, by_path, done)
        finally:
            target.forget_job(number, messages.JobPlaced)
            source.forget_job(number, messages.Supplied)
            limiter.release_on_behalf_of(job)

    def _items(self, job: SyncJob, target: SideState) -> messages.Rows:
        rows: list[tuple[object, ...]] = []
        for number, operation in enumerate(job.operations):
            if operation.do is not Do.CONTENT:
                continue
            base, part = b"", (0, b"")
            new, old = operation.new, operation.old
            if new is not None and new.size >= CHUNKED_BYTES:
                if operation.path not in self._without_base:
                    base = old.tail if old is not None and old.is_file else b""
                part = target.partial.pop(partial_name(operation.path), part)
            rows.append((number, operation.path, base, *part))
        for first, operation in filled(job.operations):
            rows.append(FolderItem(first, operation.path, operation.files.names).row())
        return messages.Rows(rows)

    def _take(
        self,
        waits: tuple[JobWait, JobWait],
        side: SyncSide,
        job: SyncJob,
        by_path: dict[bytes, PathChange],
        done: CarriedOut,
    ) -> None:
        """Take a job's results; `waits` are those of the placing and of the supplying side."""
        answer, supplied = waits[0].answer, waits[1].answer
        assert isinstance(answer, messages.JobPlaced)
        items = supplied.items if isinstance(supplied, messages.Supplied) else {}
        failed = failed_in(answer)
        news = JobNews(self._sides[side], self._sides[side.other], *waits)
        for number, operation in enumerate(job.operations):
            action = by_path.get(operation.path)
            if action is None:
                continue  # a directory got back its time; the next look finds where it did not
            if number in failed:
                self._agreement.forget([operation.path])
                self._fail(Failure(action, *failed[number]), done)
            else:
                self._succeed(news, operation, items.get(number), done, action)
        for first, operation in filled(job.operations):
            names = [join(operation.path, name) for name in operation.files.names]
            actions = [by_path[path] for path in names]
            folder = waits[1].files.get(first)
            files = folder.packed(operation.files.names) if folder is not None else None
            broken = not failed.keys().isdisjoint(range(first, first + len(names)))
            if folder is None or files is None or broken:
                self._take_each(news, first, folder, failed, actions, done)
            else:
                self._succeed_all(news, operation.path, files, actions, done)
                done.content_bytes += folder.size
            self._release(names, done)
        done.too_large.extend(answer.too_large)
        own = (o for o in job.operations if o.path in by_path)
        whole = {o.path for o in own if is_last(o, by_path[o.path])}
        self._release(whole, done)
        self.meter.files_done += sum(o.arriving for o in job.operations)
        self.meter.changed()

    def _release(self, paths: Iterable[bytes], done: CarriedOut) -> None:
        """End `paths` being under way, but only those of `done`: others may have begun again."""
        whole = done.under_way.intersection(paths)
        done.under_way -= whole
        self.in_flight -= whole
        if whole:
            self.released(whole)

    def _take_each(
        self,
        news: JobNews,
        first: int,
        folder: SuppliedFolder | None,
        failed: dict[int, tuple[str, str]],
        actions: list[PathChange],
        done: CarriedOut,
    ) -> None:
        """Take the results of a directory's files one by one: at least one of them did not come."""
        sent = dict(folder.each()) if folder is not None else {}
        for number, action in enumerate(actions, first):
            if number in failed:
                self._agreement.forget([action.path])
                self._fail(Failure(action, *failed[number]), done)
            else:
                operation = Operation(Do.CONTENT, action.path, action.new, None)
                self._succeed(news, operation, sent.get(number), done, action)

    def _succeed_all(
        self,
        news: JobNews,
        path: bytes,
        files: PackedEntries,
        actions: list[PathChange],
        done: CarriedOut,
    ) -> None:
        """Take the results of a directory whose files all came: trees and agreement share them."""
        news.target.take_files(news.placed, path, files)
        news.source.take_sent(news.supplied, path, files, [action.new for action in actions])
        self._agreement.note_files(path, files)
        self._without_base.difference_update(action.path for action in actions)
        done.actions += actions

    def _fail(self, failure: Failure, done: CarriedOut) -> None:
        if failure.code in AGAIN:
            self._without_base.add(failure.action.path)
        done.failures.append(failure)

    def _succeed(
        self,
        news: JobNews,
        operation: Operation,
        sent: TreeEntry | None,
        done: CarriedOut,
        action: PathChange,
    ) -> None:
        do, path = operation.do, operation.path
        new = operation.new if sent is None else sent
        self._without_base.discard(path)
        news.take(operation, new, sent)
        if new is None:
            if action.new is None:
                self._agreement.note(path, None)
                done.actions.append(action)
            return
        self._agreement.note(path, new)
        if do is Do.CONTENT:
            done.content_bytes += new.size
        if do is not Do.DRESS or not new.is_directory or operation.old is not None:
            done.actions.append(action)  # a new directory was counted when it was made


def _brought(job: SyncJob, by_path: dict[bytes, PathChange]) -> dict[bytes, TreeEntry]:
    """What the other side has, that comes with a job."""
    files = (join(o.path, name) for o in job.operations for name in o.files.names)
    coming = ((path, by_path[path].new) for path in files)
    return {path: new for path, new in coming if new is not None} | {
        o.path: o.new for o in job.operations if o.new is not None and not o.new.is_directory
    }
