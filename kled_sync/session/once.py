"""A single sync: scans both sides, decides, and executes the actions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from functools import partial

import trio

from kled_sync.decide.attributes import NOTHING, AttributeWish
from kled_sync.decide.guard import is_guarded
from kled_sync.decide.modes import Mode, SyncSide
from kled_sync.decide.operations import unread_worth_reading
from kled_sync.decide.reconcile import Conflict, Outcome, PathChange, Reconciler, SyncTerms
from kled_sync.decide.safety import count_deletions
from kled_sync.decide.target import target_of
from kled_sync.files.options import Options
from kled_sync.session.agreement import Agreement
from kled_sync.session.attributes import AttributePass
from kled_sync.session.peer import Peer
from kled_sync.session.side import SideState, folding
from kled_sync.session.transfer import CarriedOut, SyncMeter, SyncTransfer
from kled_sync.tree.paths import shown
from kled_sync.tree.tree import Tree
from kled_wire.errors import KledError, NotFoundError

# Files that changed while they were brought over, and the like, are looked at again.
_TRIES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is to be copied, as a person wrote it (`decide.target`)."""

    source: bytes
    destination: bytes
    options: Options
    delete: bool = False
    attributes: AttributeWish = NOTHING
    # Whether `Plan.attributes` is wanted, for which all paths are looked at beforehand.
    preview: bool = False
    # Whether contents are compared whatever times say, and a directory takes no other's place.
    as_cp: bool = False
    # The side of this machine, that git must not be made to run programs on; None where both are.
    here: SyncSide | None = None


@dataclass(slots=True, kw_only=True)
class Plan:
    """The actions that a copy would carry out."""

    actions: list[PathChange]
    skipped: list[Conflict]
    deletions: int
    files: int
    # Of paths that both sides have: letters of rsync for what is no part of an entry.
    attributes: dict[bytes, str] = field(default_factory=dict)
    # What becomes another name of which path.
    links: dict[bytes, bytes] = field(default_factory=dict)
    there: Tree = field(default_factory=Tree)

    def others(self) -> list[PathChange]:
        """The paths of `attributes` that none of the actions is of, as changes of nothing else."""
        own = {action.path for action in self.actions}
        entries = {path: self.there.get(path) for path in self.attributes if path not in own}
        return [PathChange(SyncSide.BETA, path, e, e) for path, e in entries.items()]


@dataclass(slots=True, kw_only=True)
class Result:
    """The actions that a copy has carried out, and those that failed."""

    done: CarriedOut = field(default_factory=CarriedOut)
    skipped: list[Conflict] = field(default_factory=list)
    actions: int = 0
    # What went over the wire, in both directions.
    wire_bytes: int = 0


Confirm = Callable[[Plan], Awaitable[bool]]


class OneSync:
    """One copy between two peers whose `run` is going on."""

    def __init__(self, alpha: Peer, beta: Peer, wish: Wish, meter: SyncMeter) -> None:
        self._wish = wish
        self._agreement = Agreement(None)
        self._sides = {
            SyncSide.ALPHA: SideState(alpha, self._agreement.tree),
            SyncSide.BETA: SideState(beta, self._agreement.tree),
        }
        self._transfer = SyncTransfer(self._sides, self._agreement, wish.options.mode_mask, meter)
        self._terms = SyncTerms(
            mode=Mode.ONE_WAY_REPLICA if wish.delete else Mode.COPY,
            mode_mask=wish.options.mode_mask,
            quick=not wish.as_cp,
            times=True,
            kinds_stay=wish.as_cp,
            guarded=None if wish.as_cp else wish.here,
            guard=is_guarded,
        )
        self._after = AttributePass(self._sides, self._transfer, self._terms, wish.attributes)

    async def run(self, confirm: Confirm) -> Result:
        """Copy what `confirm` says yes to. Raises KledError."""
        await self._open()
        result = Result()
        try:
            await self._copy(confirm, result)
        finally:
            far = self._sides[SyncSide.ALPHA if self._wish.here is SyncSide.BETA else SyncSide.BETA]
            result.wire_bytes = far.peer.sent_bytes + far.peer.received_bytes
        return result

    async def _copy(self, confirm: Confirm, result: Result) -> None:
        tried: set[PathChange] = set()
        for attempt in range(_TRIES):
            if attempt:
                await self._both(partial(SideState.scan, everywhere=False))
            self._check()
            outcome = await self._decide()
            actions = outcome.actions
            if tried:
                actions = [action for action in actions if action not in tried]
            if not attempt:
                result.skipped = outcome.skipped + outcome.conflicts
                await self._after.find_links()
                tree = self._sides[SyncSide.BETA].tree
                plan = Plan(
                    actions=actions,
                    skipped=result.skipped,
                    deletions=count_deletions(actions),
                    files=tree.count(),
                    there=tree,
                    attributes=await self._after.preview() if self._wish.preview else {},
                    links=self._after.links(),
                )
                result.actions = len(actions)
                if not await confirm(plan):
                    return
            actions = self._after.contents(actions)
            if not actions:
                break
            done = await self._transfer.carry_out(actions, urgent=False)
            _add(result.done, done)
            if not done.failures:
                break
            tried |= {f.action for f in done.failures if f.code not in _WORTH_ANOTHER}
        await self._after.finish(result.done)

    async def _open(self) -> None:
        """Open both sides and look at them.

        The source first: whether it is a directory decides where it goes; and it is looked at while
        the other side is still being reached.
        """
        wish, alpha, beta = self._wish, *self._sides.values()
        await self._open_source(alpha)
        near = wish.here is not SyncSide.BETA or await alpha.is_near()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(alpha.scan, everywhere=True))
            await self._open_target(alpha, beta)
            self._after.check()
            if near and (wish.here is not SyncSide.ALPHA or await beta.is_near()):
                await alpha.expect_quick_link()
            await beta.scan(everywhere=True)
        self._terms = replace(self._terms, folding=folding(self._sides))

    async def _open_source(self, alpha: SideState) -> None:
        await alpha.open(self._wish.source, replace(self._wish.options, reads_only=True))

    async def _open_target(self, alpha: SideState, beta: SideState) -> None:
        wish, is_directory = self._wish, alpha.facts.get("directory") is True
        path, into = target_of(wish.source, wish.destination, is_directory=is_directory)
        await beta.open(path, replace(wish.options, into=into, withhold=wish.attributes.xattrs))

    async def _both(self, do: Callable[[SideState], Awaitable[None]]) -> None:
        async with trio.open_nursery() as nursery:
            for state in self._sides.values():
                nursery.start_soon(do, state)

    def _check(self) -> None:
        """What was found. Raises NotFoundError, KledError("sync_source_unreadable")."""
        state = self._sides[SyncSide.ALPHA]
        root = state.tree.root
        if root is None:
            raise NotFoundError("file_not_found", f"{_name(state)}: no such file or directory")
        if root.is_frozen:
            words = root.tail.decode("utf-8", "replace")
            raise KledError("sync_source_unreadable", f"{_name(state)}: {words}")
        if self._wish.delete and root.is_directory and not state.tree.children(b""):
            raise KledError(
                "sync_source_empty",
                f"{_name(state)} is empty: everything in the destination would be deleted",
                hint="delete the destination yourself if that is meant",
            )

    async def _decide(self) -> Outcome:
        while True:
            outcome = self._reconciled()
            unread = {side: sorted(set(paths)) for side, paths in outcome.unread.items() if paths}
            if not unread:
                break
            await self._read(unread)
        if self._wish.delete and outcome.skipped and count_deletions(outcome.actions):
            broken = [skipped for skipped in outcome.skipped if skipped.is_problem]
            if broken:
                raise KledError(
                    "sync_source_unreadable",
                    f"{shown(broken[0].path)}: {broken[0].reason}; nothing is deleted while part "
                    "of the source is unreadable",
                    hint="copy without --delete, or make it readable",
                )
        worth = unread_worth_reading(outcome.actions, self._sides[SyncSide.BETA].tree)
        if worth:
            await self._sides[SyncSide.ALPHA].hash(worth)
            outcome = self._reconciled()
        return outcome

    def _reconciled(self) -> Outcome:
        alpha, beta = self._sides[SyncSide.ALPHA].tree, self._sides[SyncSide.BETA].tree
        return Reconciler(self._terms, alpha, beta, self._agreement.tree).run()

    async def _read(self, unread: dict[SyncSide, list[bytes]]) -> None:
        async with trio.open_nursery() as nursery:
            for side, paths in unread.items():
                nursery.start_soon(self._sides[side].hash, paths)


_WORTH_ANOTHER = frozenset({"damaged", "base_gone", "changed"})


def _add(to: CarriedOut, done: CarriedOut) -> None:
    again = {failure.action.path for failure in to.failures}
    to.failures = [
        f for f in to.failures if f.action.path not in {a.path for a in done.actions}
    ] + [f for f in done.failures if f.action.path not in again]
    to.actions += done.actions
    to.too_large += done.too_large
    to.content_bytes += done.content_bytes


def _name(state: SideState) -> str:
    return state.root.decode("utf-8", "backslashreplace")
