"""A single sync: scans both sides, decides, and executes the actions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from functools import partial

import trio

from kled_sync.decide.attributes import NOTHING, AttributeWish
from kled_sync.decide.guard import is_guarded
from kled_sync.decide.modes import Mode, SyncSide
from kled_sync.decide.reconcile import Conflict, Outcome, PathChange, SyncTerms
from kled_sync.decide.safety import count_deletions
from kled_sync.decide.target import names_contents, target_of
from kled_sync.files.options import Options
from kled_sync.session.agreed.agreement import Agreement
from kled_sync.session.attributes.copied import AttributePass
from kled_sync.session.deciding import PATHS_MAX, Deciding
from kled_sync.session.sides.peer import Peer
from kled_sync.session.sides.side import SideState, name_rules
from kled_sync.session.transfers.transfer import CarriedOut, SyncMeter, SyncTransfer
from kled_sync.tree.paths import is_name, shown
from kled_sync.tree.tree import Tree
from kled_sync.wire.messages import NAMES_IN
from kled_wire.errors import InputError, KledError, NotFoundError

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
    """What a copy has done: how much, and what failed."""

    # Without its actions, of which there may be a million.
    done: CarriedOut = field(default_factory=CarriedOut)
    skipped: list[Conflict] = field(default_factory=list)
    changes: int = 0
    # Those of the changes that brought a file.
    files: int = 0
    # Bytes that went over the wire, in both directions.
    wire_bytes: int = 0

    def add(self, part: CarriedOut) -> None:
        """Count what was done, and what failed and was not done since."""
        paths = {action.path for action in part.actions}
        paths |= {failure.action.path for failure in part.failures}
        left = [f for f in self.done.failures if f.action.path not in paths]
        self.done.failures = left + part.failures
        self.done.too_large += part.too_large
        self.done.content_bytes += part.content_bytes
        self.changes += len(part.actions)
        self.files += sum(a.new is not None and a.new.is_file for a in part.actions)


Confirm = Callable[[Plan], Awaitable[bool]]


class OneSync:
    """One copy between two peers whose `run` is going on."""

    def __init__(self, alpha: Peer, beta: Peer, wish: Wish, meter: SyncMeter) -> None:
        self._wish = wish
        self._agreement, self._meter = Agreement(None), meter
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
        """Copy, in parts where much is new, each of which is tried again where something failed."""
        tried: set[PathChange] = set()
        part: set[bytes] | None = None
        tries = 0
        while True:
            is_first = part is None and not tries
            if not is_first:
                await self._both(partial(SideState.scan, everywhere=False))
            self._check()
            outcome = await self._decide(part)
            if not tries:
                # One way, a conflict is what is in the way at the destination.
                result.skipped += outcome.skipped
                result.skipped += [c._replace(is_problem=True) for c in outcome.conflicts]
            if is_first and not await confirm(await self._plan(outcome)):
                return
            if is_first:
                self._foresee(outcome.later)
            actions = [action for action in outcome.actions if action not in tried]
            done = await self._transfer.carry_out(self._after.contents(actions), urgent=False)
            result.add(done)
            tries += 1
            if done.failures and tries < _TRIES:
                tried |= {f.action for f in done.failures if f.code not in _WORTH_ANOTHER}
            elif outcome.later:
                part, tries = outcome.later, 0
            else:
                break
        await self._after.finish(result.done)

    async def _plan(self, outcome: Outcome) -> Plan:
        await self._after.find_links()
        tree = self._sides[SyncSide.BETA].tree
        return Plan(
            actions=outcome.actions,
            skipped=outcome.skipped + outcome.conflicts,
            deletions=count_deletions(outcome.actions),
            files=tree.count(),
            there=tree,
            attributes=await self._after.preview() if self._wish.preview else {},
            links=self._after.links(),
        )

    def _foresee(self, later: set[bytes]) -> None:
        """Let the meter count what is planned later."""
        source, there = self._sides[SyncSide.ALPHA].tree, self._sides[SyncSide.BETA].tree
        for top in later:
            for path, entry in source.walk(top):
                if entry.is_file and not entry.is_arrived(there.get(path)):
                    self._meter.foresee(1, entry.size)

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
        self._terms = replace(self._terms, names=name_rules(self._sides))

    async def _open_source(self, alpha: SideState) -> None:
        source = self._wish.source
        follow = names_contents(source)
        options = replace(self._wish.options, reads_only=True, follow=follow, tells_names=True)
        await alpha.open(source, options)
        if alpha.facts.get("there") is False:
            raise _missing(alpha)
        if follow:
            _check_directory(alpha)

    async def _open_target(self, alpha: SideState, beta: SideState) -> None:
        """Where only what is in the source is meant, the destination may be a link to a folder."""
        wish, is_directory = self._wish, alpha.facts.get("directory") is True
        path, into = target_of(wish.source, wish.destination, is_directory=is_directory)
        follow = names_contents(wish.source)
        names = None if wish.delete else _names_in(alpha)
        options = replace(
            wish.options,
            into=into,
            follow=follow,
            withhold=wish.attributes.xattrs,
            # A home directory may have a million files that have nothing to do with the source.
            among=b"/".join(names or ()),
            among_alone=names is not None,
        )
        await beta.open(path, options)
        if follow and beta.facts.get("there") is True:
            _check_directory(beta)

    async def _both(self, do: Callable[[SideState], Awaitable[None]]) -> None:
        async with trio.open_nursery() as nursery:
            for state in self._sides.values():
                nursery.start_soon(do, state)

    def _check(self) -> None:
        """What was found. Raises NotFoundError, KledError("sync_source_unreadable")."""
        state = self._sides[SyncSide.ALPHA]
        root = state.tree.root
        if root is None:
            raise _missing(state)
        if root.is_frozen:
            words = root.tail.decode("utf-8", "replace")
            raise KledError("sync_source_unreadable", f"{_name(state)}: {words}")
        if self._wish.delete and root.is_directory and not state.tree.children(b""):
            raise KledError(
                "sync_source_empty",
                f"{_name(state)} is empty: everything in the destination would be deleted",
                hint="delete the destination yourself if that is meant",
            )

    async def _decide(self, part: set[bytes] | None) -> Outcome:
        """Decide about everything, or about what is left.

        All at once, where somebody wants to see all of it.
        """
        paths_max = None if self._wish.preview else PATHS_MAX
        deciding = Deciding(self._sides, self._terms, self._agreement.tree, paths_max=paths_max)
        outcome = await deciding.decide(None if part is None else (), part or ())
        if self._wish.delete and outcome.skipped and count_deletions(outcome.actions):
            broken = [skipped for skipped in outcome.skipped if skipped.is_problem]
            if broken:
                raise KledError(
                    "sync_source_unreadable",
                    f"{shown(broken[0].path)}: {broken[0].reason}; nothing is deleted while part "
                    "of the source is unreadable",
                    hint="copy without --delete, or make it readable",
                )
        return outcome


_WORTH_ANOTHER = frozenset({"damaged", "base_gone", "changed"})


def _names_in(state: SideState) -> list[bytes] | None:
    """The names in an open root; None where they are not known."""
    names = state.facts.get(NAMES_IN)
    if not isinstance(names, list):
        return None
    return [name for name in names if isinstance(name, bytes) and is_name(name)]


def _missing(state: SideState) -> NotFoundError:
    return NotFoundError("file_not_found", f"{_name(state)}: no such file or directory")


def _check_directory(state: SideState) -> None:
    """Raises InputError("sync_root_invalid")."""
    if state.facts.get("directory") is False:
        raise InputError("sync_root_invalid", f"{_name(state)} is not a directory")


def _name(state: SideState) -> str:
    return state.root.decode("utf-8", "backslashreplace")
