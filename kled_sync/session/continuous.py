"""A continuous sync: copies every change on either side to the other, until it is ended.

One task scans and decides. It executes small transfers itself at once; large ones run beside it, so
that a file saved meanwhile is copied first. Paths of a running transfer are skipped, and scanned
again after its end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import trio

from kled_sync.decide.attributes import NOTHING, AttributeWish
from kled_sync.decide.guard import is_guarded
from kled_sync.decide.modes import TWO_WAY, Mode, SyncSide
from kled_sync.decide.reconcile import Conflict, Outcome, PathChange, SyncTerms
from kled_sync.files.options import Options
from kled_sync.files.reading.chunking import CHUNKED_BYTES
from kled_sync.session.agreed.agreement import Agreement
from kled_sync.session.attributes.standing import StandingAttributes
from kled_sync.session.crash import learn_intended
from kled_sync.session.deciding import PATHS_MAX, Deciding, is_outdated
from kled_sync.session.halting import (
    DOUBT_PAUSE_S,
    Asks,
    DeletionCheck,
    check_roots_apart,
    check_roots_there,
)
from kled_sync.session.health import FailedActions, Health
from kled_sync.session.pacing import LARGE_BYTES, Pacing
from kled_sync.session.reading import LargeReads
from kled_sync.session.roots import KnownRoots
from kled_sync.session.sides.peer import Peer
from kled_sync.session.sides.side import Sides, SideState, name_rules
from kled_sync.session.sides.sweeping import any_of, is_watched, sweep_s
from kled_sync.session.transfers.renaming import bring_renamed
from kled_sync.session.transfers.transfer import CarriedOut, SyncMeter, SyncTransfer
from kled_sync.session.transfers.under_way import UnderWay
from kled_sync.tree.paths import ROOT, is_below, shown, split
from kled_sync.tree.tree import share_entries
from kled_wire.errors import NotFoundError

# Up to so many actions are carried out before anything else is looked at; more go on in the
# background.
_SMALL_ACTIONS: Final = 100
_SMALL_BYTES: Final = 4 * 1024 * 1024
# After a burst there is more to come: looking less often then is quicker.
_BURST_ACTIONS: Final = 200
_BURST_PAUSE_S: Final = 0.15
_FLUSH_ROUNDS: Final = 50
_SHARED_PART_MIN: Final = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncWish:
    """What is to be kept the same, and how."""

    alpha: bytes
    beta: bytes
    mode: Mode
    options: Options
    here: SyncSide | None = SyncSide.ALPHA
    attributes: AttributeWish = NOTHING


Log = Callable[[list[PathChange]], None]


class ContinuousSync:
    """One sync between two peers whose `run` is going on."""

    def __init__(
        self,
        peers: dict[SyncSide, Peer],
        wish: SyncWish,
        directory: Path,
        *,
        log: Log = lambda _actions: None,
        found: Callable[[Sides], None] = lambda _sides: None,
        accept: Asks | None = None,
    ) -> None:
        self._wish = wish
        self.agreement = Agreement(directory)
        self._roots = KnownRoots(directory)
        self.sides = {s: SideState(peers[s], self.agreement.tree) for s in SyncSide}
        self._deletions = DeletionCheck(self.agreement, self.sides)
        self.meter = SyncMeter()
        self.transfer = SyncTransfer(self.sides, self.agreement, wish.options.mode_mask, self.meter)
        self.health = Health()
        self._log, self._found = log, found
        self._accept = accept
        self._terms = SyncTerms(
            mode=wish.mode,
            mode_mask=wish.options.mode_mask,
            guarded=wish.here,
            guard=is_guarded,
        )
        self._attributes = StandingAttributes(
            self.sides, self.agreement, self._terms, wish.attributes, self.health, log
        )
        self._under_way = UnderWay(self.transfer.in_flight)
        self.transfer.released = self._let_go_on
        self._again: set[bytes] = set()
        # New directories that are looked at when what was found before is done (`Outcome.later`).
        self._later: set[bytes] = set()
        self._whole = True
        self._failed = FailedActions()
        self._pacing = Pacing()
        in_flight = self.transfer.in_flight
        self._reads = LargeReads(self.sides, in_flight, self._pacing, self._read_to_end)
        self._wake = trio.Event()
        self._flushes: list[trio.Event] = []
        self._beside = 0
        self._nursery: trio.Nursery | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run the sync until cancelled. Raises HaltedError, and KledError where a side is gone."""
        try:
            await self._open()
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                task_status.started()
                await self._go_on()
        finally:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(self.agreement.close)

    async def _open(self) -> None:
        wish = self._wish
        sets = wish.attributes.sets_attributes
        tells = replace(wish.options, tells_overflow=True, tells_links=True)
        options = replace(tells, identify=True, attributes=sets)
        paths = {SyncSide.ALPHA: wish.alpha, SyncSide.BETA: wish.beta}

        async def one(side: SyncSide) -> None:
            is_source = side is SyncSide.ALPHA and wish.mode not in TWO_WAY
            await self.sides[side].open(paths[side], replace(options, is_source=is_source))
            await self.sides[side].watch()

        async with trio.open_nursery() as nursery:
            for side in SyncSide:
                nursery.start_soon(one, side)
        self._found(self.sides)  # which may raise
        self._attributes.begin()
        self._terms = replace(self._terms, names=name_rules(self.sides))
        if wish.here is None:
            check_roots_apart(self.sides)
        if not self._accept:
            check_roots_there(self.sides, self.agreement, wish.mode)
        self._roots.check_filesystems(self.sides, self._accept)

    async def _go_on(self) -> None:
        everywhere = True
        while True:
            flushes, self._flushes = self._flushes, []
            # A barrier is not to trust hints where there are none.
            if everywhere:  # what was in the way may be gone, and nothing tells of that
                self._again |= self._failed.retry()
            unwatched = [s for s in self.sides.values() if not is_watched(s)]
            actions = await self._round(everywhere=everywhere or bool(flushes and unwatched))
            if flushes:
                await self._settle(flushes)
            pause = _BURST_PAUSE_S if actions > _BURST_ACTIONS else self._pacing.pause_s(actions)
            everywhere = await self._wait(pause, min(map(sweep_s, self.sides.values())))

    async def _settle(self, flushes: list[trio.Event]) -> None:
        """Work until nothing is left to do of what was there when it was asked for."""
        for _ in range(_FLUSH_ROUNDS):
            while self._beside or self._later:
                if self._beside:
                    self._wake = trio.Event()
                    await self._wake.wait()
                else:
                    await self._round(everywhere=False)
            if not await self._round(everywhere=False) and not self._beside:
                break
        for event in flushes:
            event.set()

    async def _wait(self, pause: float, sweep: float) -> bool:
        """Wait until there is something to look at; returns whether that is everything."""
        await trio.sleep(pause)
        self.health.phase = "watching"
        if (
            self._again
            or self._whole
            or self._flushes
            or self._attributes.is_waiting
            or (self._later and not self._beside)
        ):
            return False
        due = self._pacing.next_s(trio.current_time())
        with trio.move_on_after(min(sweep, due)):
            self._wake = trio.Event()
            events = [self._wake, *(state.dirty for state in self.sides.values())]
            await any_of(events)
            return False
        return due > sweep

    async def _round(self, *, everywhere: bool) -> int:
        """Look, decide, begin to do; how much there was to do. Raises HaltedError."""
        self.health.phase, began = "looking", trio.current_time()
        async with trio.open_nursery() as nursery:
            for state in self.sides.values():
                nursery.start_soon(_scan, state, everywhere)
        self._roots.check(self.sides, self.agreement.tree, self._accept)
        await learn_intended(self.agreement, self.sides, self._terms.mode_mask)
        directories = await self._bring_renamed(self._directories())
        later: set[bytes] = set()
        if not self._beside:
            later, self._later = self._later, later
        if directories is not None and not directories | later:
            return await self._attributes.settle(self._under_way.covers)
        limits = {"paths_max": PATHS_MAX, "read_max": LARGE_BYTES}
        deciding = Deciding(self.sides, self._terms, self.agreement.tree, **limits)
        outcome = await deciding.decide(directories, later)
        assert self._nursery is not None
        self._beside += self._reads.begin(self._nursery, outcome.unread)
        self._note(outcome)
        self._again |= outcome.again
        self._later |= outcome.later
        ready = self._under_way.ready(outcome.actions)
        actions = [action for action in ready if self._may_do(action)]
        is_busy = bool(self.transfer.in_flight)
        if not self._deletions.check(actions, self._accept, is_busy=is_busy):
            await trio.sleep(DOUBT_PAUSE_S)
            self._whole = True
            return len(actions)
        if actions:
            await self._do(actions, began)
        if not self.transfer.in_flight or any(action.new is not None for action in actions):
            self._accept = None  # deletions that go on were accepted as a whole
        return len(actions) + await self._attributes.settle(self._under_way.covers)

    async def _bring_renamed(self, directories: set[bytes] | None) -> set[bytes] | None:
        """Bring renamed directories over; return those still to be looked at. Raises KledError."""
        if not directories or self.transfer.in_flight or self._failed:
            return directories
        done, left = await bring_renamed(
            directories, self.sides, self.agreement, self._terms, self.transfer
        )
        self._took(done)
        return left

    def _directories(self) -> set[bytes] | None:
        """What to look at: where something changed. None: everywhere."""
        found = self._again | self._pacing.due(trio.current_time())
        self._again.clear()
        for state in self.sides.values():
            found |= state.changed
            state.changed.clear()
        if self._whole:
            self._whole = False
            return None
        return found

    def _note(self, outcome: Outcome) -> None:
        for path, entry in outcome.agreed:
            self.agreement.note_seen(path, entry)
        self.agreement.flush()
        self._share(path for path, _ in outcome.agreed)
        for known in (self.health.conflicts, self.health.problems):
            for path in list(known):
                there = any(state.tree.get(path) is not None for state in self.sides.values())
                if path == ROOT or not there or split(path)[0] in outcome.entered:
                    del known[path]
        self.health.conflicts.update(map(_pair, outcome.conflicts))
        self.health.problems.update(map(_pair, outcome.skipped))
        self.health.lacking &= self.health.problems.keys()
        self.health.lacking |= {found.path for found in outcome.skipped if found.is_problem}

    def _may_do(self, action: PathChange) -> bool:
        """Not what failed and has not changed since, nor what is written to all the time."""
        if action.path == ROOT and action.new is None:
            return False  # what was in it goes, where that is accepted
        why = self._failed.why(action)
        if why is not None:
            self.health.lack(action.path, why)
            return False
        return not self._pacing.waits(action.path, action.new, trio.current_time())

    def _let_go_on(self, paths: Iterable[bytes]) -> None:
        """Look again at what waited for a part of a transfer that has ended."""
        free = self._under_way.released(paths)
        if free:
            self._again |= free
            self._wake.set()

    async def _do(self, actions: list[PathChange], began: float) -> None:
        size = sum(a.new.size for a in actions if a.new is not None and a.new.is_file)
        self.health.phase = "bringing over"
        if size <= _SMALL_BYTES and len(actions) <= _SMALL_ACTIONS:
            await self._carry_out(actions, began, urgent=True)
            return
        assert self._nursery is not None
        self._beside += 1
        self.transfer.in_flight.update(action.path for action in actions)
        self._nursery.start_soon(self._carry_out_beside, actions, began)

    async def _carry_out_beside(self, actions: list[PathChange], began: float) -> None:
        try:
            await self._carry_out(actions, began, urgent=False)
        finally:
            self._beside -= 1
            self._wake.set()

    def _read_to_end(self, path: bytes) -> None:
        self._beside -= 1
        self._again.add(split(path)[0])
        self._let_go_on({path})
        self._wake.set()

    async def _carry_out(self, actions: list[PathChange], began: float, *, urgent: bool) -> None:
        """Carry them out; the look that found them began at `began`."""
        self._attributes.bring(actions)
        done = await self.transfer.carry_out(actions, urgent=urgent)
        least = 0 if urgent else CHUNKED_BYTES
        ours = set(actions) - {failure.action for failure in done.failures}
        files = [a.path for a in ours if a.new is not None and a.new.size >= least]
        self._pacing.passed(files, began, trio.current_time())
        self._took(done)

    def _took(self, done: CarriedOut) -> None:
        self.health.changes += len(done.actions)
        if done.actions:
            self._log(done.actions)
        self._share(action.path for action in done.actions)
        self._attributes.brought(done.actions)
        for action in done.actions:
            self._failed.done(action)
            self.health.have(action.path)
            mask = self._terms.mode_mask
            if is_outdated(action, self.sides, self.agreement.tree, mask):
                self._again.add(split(action.path)[0])
        for failure in done.failures:
            path = failure.action.path
            self._again.add(split(path)[0])
            if self._failed.take(failure):
                self.health.lack(path, failure.words)
        for path in done.too_large:
            self.health.lose(path)

    def _share(self, paths: Iterable[bytes]) -> None:
        """Have once in memory what is the same now, where it is worth packing a directory again."""
        trees = self.agreement.tree, *(state.tree for state in self.sides.values())
        changed = Counter(split(path)[0] for path in paths if path)
        for directory, count in changed.items():
            if count >= trees[0].directories.size(directory) * _SHARED_PART_MIN:
                share_entries(directory, trees)

    # --- what people ask for

    async def flush(self) -> None:
        """Wait until all that was saved before is on the other side. Raises KledError."""
        self._again |= self._failed.retry() | self._pacing.forget(trio.current_time())
        event = trio.Event()
        self._flushes.append(event)
        self._wake.set()
        await event.wait()

    async def resolve(self, path: bytes, winner: SyncSide) -> int:
        """Let one side win at `path` and below; how much that changed. Raises NotFoundError."""
        below = [p for p in self.health.all_conflicts() if p == path or is_below(p, path)]
        if not below:
            raise NotFoundError("sync_no_conflict", f"there is no conflict at {shown(path)}")
        # The winner is alpha of a replica: what the other has there, or below it, goes.
        turned = winner is SyncSide.BETA
        guarded = self._terms.guarded
        terms = replace(
            self._terms,
            mode=Mode.ONE_WAY_REPLICA,
            guarded=guarded.other if turned and guarded is not None else guarded,
            names={s.other if turned else s: r for s, r in self._terms.names.items()},
        )
        sides = {SyncSide.ALPHA: self.sides[winner], SyncSide.BETA: self.sides[winner.other]}
        deciding = Deciding(sides, terms, self.agreement.tree, paths_max=None)
        outcome = await deciding.decide((), below)
        chosen = [action._replace(side=winner.other) for action in outcome.actions]
        done = await self.transfer.carry_out(chosen, urgent=True)
        self._took(done)
        changed = len(done.actions) + await self._attributes.resolve(below, winner)
        for conflict in below:  # which are found again where they are not resolved
            self.health.conflicts.pop(conflict, None)
            self._again.add(split(conflict)[0])
        self._wake.set()
        return changed


async def _scan(state: SideState, everywhere: bool) -> None:  # of start_soon
    await state.scan(everywhere=everywhere)


def _pair(found: Conflict) -> tuple[bytes, str]:
    return found.path, found.reason
