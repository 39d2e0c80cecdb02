"""Brings over directories that were renamed as they are, before each path in them is decided on."""

from __future__ import annotations

from collections.abc import Iterator

from kled_sync.decide.folding import NameRules, composed
from kled_sync.decide.modes import Mode, SyncSide, Verdict, decide
from kled_sync.decide.moves import DirectoryMove, find_renamed
from kled_sync.decide.reconcile import SyncTerms
from kled_sync.session.agreed.agreement import Agreement
from kled_sync.session.sides.side import SideState
from kled_sync.session.transfers.transfer import CarriedOut, SyncTransfer
from kled_sync.tree.tree import is_or_is_below


async def bring_renamed(
    directories: set[bytes],
    sides: dict[SyncSide, SideState],
    agreement: Agreement,
    terms: SyncTerms,
    transfer: SyncTransfer,
) -> tuple[CarriedOut, set[bytes]]:
    """What was done, and those of `directories` that are still to be looked at.

    What was refused, and what is no such rename, is decided on path by path. Raises KledError.
    """
    done, left = CarriedOut(), directories
    for side in SyncSide:
        if not _follows(side, terms.mode):
            continue
        source, target = sides[side.other].tree, sides[side].tree
        found = (
            move
            for move in find_renamed(left, source, target, agreement.tree, side)
            if side is not terms.guarded or not any(_guarded(move, sides[side.other], terms))
            if not _is_rewritten(move.path, terms.names.get(side))
        )
        for move in await transfer.move(side, found, urgent=True):
            done.actions += move.told
            names = move.path, move.source
            left = {d for d in left if not any(is_or_is_below(d, name) for name in names)}
    agreement.flush()
    return done, left


def _is_rewritten(path: bytes, rules: NameRules | None) -> bool:
    """Whether a side with these rules would list a directory under another name than `path`."""
    return rules is not None and rules.decomposes and composed(path) != path


def _follows(side: SyncSide, mode: Mode) -> bool:
    """Whether `side` follows what the other side alone creates and removes."""
    if side is SyncSide.BETA:
        verdicts = decide(mode, b"new", b"", b""), decide(mode, b"", b"old", b"old")
        return set(verdicts) == {Verdict.TO_BETA}
    verdicts = decide(mode, b"", b"new", b""), decide(mode, b"old", b"", b"old")
    return set(verdicts) == {Verdict.TO_ALPHA}


def _guarded(move: DirectoryMove, source: SideState, terms: SyncTerms) -> Iterator[bool]:
    """Tell of each path, under both of its names, whether git would run it."""
    for path, entry in source.tree.walk(move.path):
        yield terms.guard(path, entry)
        yield terms.guard(move.source + path[len(move.path) :], entry)
