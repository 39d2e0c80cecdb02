"""Decides what is to be done, and reads the files whose content that depends on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import trio

from kled_sync.decide.comparing import comparable
from kled_sync.decide.modes import SyncSide
from kled_sync.decide.operations import unread_worth_reading
from kled_sync.decide.reconcile import Outcome, PathChange, Reconciler, SyncTerms
from kled_sync.session.sides.side import Sides, SideState
from kled_sync.tree.entry import essence
from kled_sync.tree.tree import Tree

# With so many actions at once the links are busy for seconds, and their memory is some 40 MB. More
# is decided on when those are done.
PATHS_MAX: Final = 50_000


class Deciding:
    """Decides about two sides, by the terms that hold now."""

    def __init__(
        self,
        sides: dict[SyncSide, SideState],
        terms: SyncTerms,
        agreed: Tree,
        *,
        paths_max: int | None,
        read_max: int | None = None,
    ) -> None:
        """`paths_max` as `Reconciler` has it. Files of `read_max` bytes and more are not read."""
        self._sides, self._terms, self._agreed = sides, terms, agreed
        self._read_max = read_max
        self._paths_max = paths_max

    async def decide(
        self, directories: Iterable[bytes] | None, whole: Iterable[bytes] = ()
    ) -> Outcome:
        """As `Reconciler.run`, with nothing unread but what is too large. Raises KledError.

        Where something is to go it is all that is to be done: what goes may come elsewhere, and
        how much is deleted is asked about as a whole.
        """
        paths_max = self._paths_max
        while True:
            outcome = self._reconciled(directories, whole, paths_max)
            unread = {side: self._to_read(side, paths) for side, paths in outcome.unread.items()}
            if any(unread.values()):
                await self._read(unread)
            elif outcome.later and outcome.deletes:
                paths_max = None
            else:
                break
        worth = {side.other: self._worth_reading(side, outcome) for side in SyncSide}
        at_once = {side: self._to_read(side, paths) for side, paths in worth.items()}
        if any(at_once.values()):
            await self._read(at_once)
            outcome = self._reconciled(directories, whole, paths_max)
        for side, paths in worth.items():
            outcome.unread[side] += set(paths).difference(at_once[side])
        return outcome

    def _reconciled(
        self, directories: Iterable[bytes] | None, whole: Iterable[bytes], paths_max: int | None
    ) -> Outcome:
        alpha, beta = self._sides[SyncSide.ALPHA].tree, self._sides[SyncSide.BETA].tree
        reconciler = Reconciler(self._terms, alpha, beta, self._agreed, paths_max=paths_max)
        return reconciler.run(directories, whole)

    def _to_read(self, side: SyncSide, paths: list[bytes]) -> list[bytes]:
        if self._read_max is None:
            return sorted(set(paths))
        tree = self._sides[side].tree
        sizes = ((path, tree.get(path)) for path in set(paths))
        return sorted(p for p, entry in sizes if entry is None or entry.size < self._read_max)

    def _worth_reading(self, side: SyncSide, outcome: Outcome) -> list[bytes]:
        own = [action for action in outcome.actions if action.side is side]
        return unread_worth_reading(own, self._sides[side].tree) if own else []

    async def _read(self, paths: dict[SyncSide, list[bytes]]) -> None:
        async with trio.open_nursery() as nursery:
            for side, some in paths.items():
                if some:
                    nursery.start_soon(self._sides[side].hash, some)


def is_outdated(action: PathChange, sides: Sides, agreed: Tree, mode_mask: int) -> bool:
    """Whether the side that `action`, which is done, came from has something else by now.

    A look that found there what the other side still had, since the change was under way, has
    found nothing to do.
    """
    source = comparable(sides[action.side.other].tree.get(action.path))
    return essence(source, mode_mask) != essence(agreed.get(action.path), mode_mask)
