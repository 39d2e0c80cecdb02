"""Keeps owners, special bits and extended attributes the same in a continuous sync.

What both sides have, the same in all that is an entry, is compared when an endpoint tells that it
may have changed, when its content was brought over, and all of it once after each start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import islice

from kled_sync.decide.attributes import (
    FACT_KEEPS,
    FACT_TOLD,
    AttributesToSet,
    AttributeWish,
    FileAttributes,
    change_of,
    mark_of,
    owed_mark,
    verdict_on,
)
from kled_sync.decide.modes import SyncSide, Verdict
from kled_sync.decide.reconcile import PathChange, SyncTerms
from kled_sync.session.agreed.agreement import Agreement
from kled_sync.session.attributes.requests import (
    AT_ONCE,
    ask_both,
    check_attributes_known,
    set_attributes,
)
from kled_sync.session.health import Health
from kled_sync.session.sides.side import Sides
from kled_sync.tree.entry import TreeEntry

_CONFLICT = "its owner or attributes changed on both sides"
_DIFFERS = "its owner or attributes are not the same, and cannot be"
Pair = tuple[FileAttributes, FileAttributes]


class StandingAttributes:
    """The attributes of one session; does nothing if the session asked for none."""

    def __init__(
        self,
        sides: Sides,
        agreement: Agreement,
        terms: SyncTerms,
        wish: AttributeWish,
        health: Health,
        log: Callable[[list[PathChange]], None],
    ) -> None:
        self._sides, self._agreement, self._health = sides, agreement, health
        self._terms, self._wish, self._log = terms, wish, log
        # The paths to compare; the side that gets the other's attributes, where that is known.
        self._pending: dict[bytes, SyncSide | None] = {}
        # Paths to compare later: they were being transferred.
        self._held: dict[bytes, SyncSide | None] = {}
        # Paths of which the permissions came alone: with them all they had before was kept.
        self._dressed: set[bytes] = set()
        # The rest of the paths that are compared once after the start.
        self._walk: Iterator[tuple[bytes, TreeEntry]] | None = None

    def begin(self) -> None:
        """Begin once the sides are open. Raises UnavailableError("sync_attributes_unknown")."""
        if self._wish.sets_attributes:
            check_attributes_known(self._sides, FACT_TOLD)
            self._walk = self._sides[SyncSide.ALPHA].tree.walk()

    def bring(self, actions: Sequence[PathChange]) -> None:
        """Note `actions` before they are carried out: a later run knows what their targets get."""
        if self._wish.sets_attributes:
            for path, side in self._targets(actions):
                if side is not None:
                    self._agreement.mark(path, owed_mark(side))
            self._agreement.flush()

    def brought(self, actions: Sequence[PathChange]) -> None:
        """Note `actions`, carried out: their targets get the source's attributes."""
        if self._wish.sets_attributes:
            for path, side in self._targets(actions):
                self._add(path, side)
                if side is None:
                    self._dressed.add(path)

    def _targets(self, actions: Sequence[PathChange]) -> Iterator[tuple[bytes, SyncSide | None]]:
        """The paths at which there is something then, and the side that gets its attributes."""
        for action in actions:
            if action.new is not None:
                stays = _keeps_attributes(action) and not self._wish.special
                yield action.path, None if stays else action.side

    def _add(self, path: bytes, side: SyncSide | None) -> None:
        if side is not None or path not in self._pending:
            self._pending[path] = side

    @property
    def is_waiting(self) -> bool:
        """Whether there is something to compare now."""
        return bool(self._pending) or self._walk is not None

    async def settle(self, is_under_way: Callable[[bytes], bool]) -> int:
        """Compare some, set what differs; 0 when that was all. Raises KledError."""
        if not self._wish.sets_attributes:
            return 0
        self._gather()
        chosen: dict[bytes, SyncSide | None] = {}
        for path, side in list(islice(self._pending.items(), AT_ONCE)):
            del self._pending[path]
            if is_under_way(path):
                self._held[path] = side
            elif self._is_alike(path):
                chosen[path] = side
            else:
                self._health.attributes.pop(path, None)
                self._dressed.discard(path)
        if chosen:
            came = self._dressed | {path for path, side in chosen.items() if side is not None}
            self._dressed -= chosen.keys()
            await self._compare(chosen, chosen.keys() - came)
        return len(chosen) or int(self.is_waiting)

    def _gather(self) -> None:
        for state in self._sides.values():
            for path in state.touched:
                self._add(path, None)
            state.touched.clear()
        for path, side in self._held.items():
            self._add(path, side)
        self._held.clear()
        if self._walk is not None and len(self._pending) < AT_ONCE:
            more = list(islice(self._walk, AT_ONCE))
            for path, _ in more:
                self._add(path, None)
            if not more:
                self._walk = None
        for path in list(self._health.attributes):
            if any(state.tree.get(path) is None for state in self._sides.values()):
                del self._health.attributes[path]

    def _is_alike(self, path: bytes) -> bool:
        """Whether both sides have the same entry at `path`."""
        alpha, beta = (self._sides[side].tree.get(path) for side in SyncSide)
        if alpha is None or beta is None or alpha.is_frozen or alpha.kind is not beta.kind:
            return False
        return not alpha.is_file or alpha.is_arrived(beta)

    async def _compare(
        self, chosen: Mapping[bytes, SyncSide | None], alone: AbstractSet[bytes]
    ) -> None:
        """`alone`: whose content is what it was, so that nothing has their earlier attributes."""
        changes: dict[SyncSide, list[AttributesToSet]] = {side: [] for side in SyncSide}
        keeps = {s: state.facts.get(FACT_KEEPS) is True for s, state in self._sides.items()}
        for found in await ask_both(self._sides, list(chosen), xattrs=self._wish.xattrs):
            path = found[0].path
            trouble = found[0].trouble or found[1].trouble
            verdict = Verdict.LEAVE if trouble else self._verdict(found, chosen[path])
            self._health.attributes.pop(path, None)
            if verdict is Verdict.SAME:
                self._agreement.mark(path, mark_of(self._wish, *found))
            elif verdict is Verdict.CONFLICT:
                self._health.attributes[path] = _CONFLICT, True
            elif verdict is Verdict.LEAVE:
                self._health.attributes[path] = trouble or _DIFFERS, False
            else:
                side = SyncSide.BETA if verdict is Verdict.TO_BETA else SyncSide.ALPHA
                change = self._change(found, side)
                if change is not None and not self._is_guarded(path, side):
                    changes[side].append(change._replace(keeps=keeps[side] and path in alone))
        for side, some in changes.items():
            if some:
                await self._set(side, some)
        self._agreement.flush()

    def _is_guarded(self, path: bytes, side: SyncSide) -> bool:
        """Whether git on that side would run `path`, so that its attributes stay."""
        entry = self._sides[side].tree.get(path)
        return side is self._terms.guarded and self._terms.guard(path, entry)

    def _verdict(self, found: Pair, side: SyncSide | None) -> Verdict:
        path = found[0].path
        mark = self._agreement.marks.get(path)
        permissions = self._permissions(path)
        verdict = verdict_on(self._terms.mode, self._wish, found, mark, permissions=permissions)
        if side is None or verdict is Verdict.SAME:
            return verdict
        return Verdict.TO_BETA if side is SyncSide.BETA else Verdict.TO_ALPHA

    def _permissions(self, path: bytes) -> bool:
        return self._terms.copies_mode(self._sides[SyncSide.ALPHA].tree.get(path))

    def _change(self, found: Pair, side: SyncSide) -> AttributesToSet | None:
        source, target = found if side is SyncSide.BETA else found[::-1]
        permissions = self._permissions(source.path)
        return change_of(self._wish, source, target, permissions=permissions)

    async def _set(self, side: SyncSide, changes: Sequence[AttributesToSet]) -> None:
        """Set attributes of `side`; those it cannot have are agreed to differ until they change."""
        failed = await set_attributes(self._sides[side], changes)
        paths = [change.path for change in changes]
        for alpha, beta in await ask_both(self._sides, paths, xattrs=self._wish.xattrs):
            path = alpha.path
            if alpha.trouble or beta.trouble:
                self._pending[path] = side
                continue
            self._agreement.mark(path, mark_of(self._wish, alpha, beta))
            if self._change((alpha, beta), side) is not None:
                self._health.attributes[path] = failed.get(path, _DIFFERS), False
        entries = {path: self._sides[side].tree.get(path) for path in paths if path not in failed}
        self._health.changes += len(entries)
        self._log([PathChange(side, path, entry, entry) for path, entry in entries.items()])

    async def resolve(self, paths: Sequence[bytes], winner: SyncSide) -> int:
        """Let one side win at those of `paths` that are conflicts of attributes; how many."""
        below = [path for path in paths if self._health.attributes.get(path, ("", False))[1]]
        for at in range(0, len(below), AT_ONCE):
            some = dict.fromkeys(below[at : at + AT_ONCE], winner.other)
            await self._compare(some, some.keys())
        return len(below)


def _keeps_attributes(action: PathChange) -> bool:
    """Whether only the permissions changed, to which the special bits belong."""
    new, old = action.new, action.old
    if new is None or old is None or new.kind is not old.kind:
        return False
    return new.is_directory or (new.is_file and new.tail == old.tail)
