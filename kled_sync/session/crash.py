"""What is made of an earlier run's intentions, which it was killed before it could confirm."""

from __future__ import annotations

import trio

from kled_sync.decide.modes import SyncSide
from kled_sync.session.agreed.agreement import Agreement, Intended
from kled_sync.session.sides.side import SideState
from kled_sync.tree.entry import TreeEntry, essence


async def learn_intended(
    agreement: Agreement, sides: dict[SyncSide, SideState], mode_mask: int
) -> None:
    """A side that has what the last run was bringing there has agreed on that.

    Without this a file that is changed again on the side it came from would have changed on both.
    What that side itself has says nothing. Raises KledError.
    """
    intended = agreement.unconfirmed()
    for side, state in sides.items():
        here = await _coming(state, {p: i for p, i in intended.items() if i.side is side})
        unread = [
            path
            for path, entry in here.items()
            if (found := state.tree.get(path)) is not None
            and not found.is_hashed
            and entry.is_arrived(found)
        ]
        if unread:
            await state.hash(unread)
        for path, entry in here.items():
            found, before = state.tree.get(path), agreement.tree.get(path)
            came = _came(entry, found, before, mode_mask)
            if came is not None:
                agreement.note(path, came)
    agreement.forget(intended)


async def _coming(state: SideState, intended: dict[bytes, Intended]) -> dict[bytes, TreeEntry]:
    """What was to be there: as it was planned, or as it was when it came, where that is noted."""
    coming = {path: i.entry for path, i in intended.items()}
    by_note: dict[str, set[bytes]] = {}
    for path, i in intended.items():
        by_note.setdefault(i.note, set()).add(path)

    async def one(note: str, paths: set[bytes]) -> None:
        found = await state.placed(note)
        coming.update((path, found[path]) for path in paths & found.keys())

    async with trio.open_nursery() as nursery:
        for note, paths in by_note.items():
            nursery.start_soon(one, note, paths)
    return coming


def _came(
    entry: TreeEntry, found: TreeEntry | None, before: TreeEntry | None, mode_mask: int
) -> TreeEntry | None:
    """What was brought, if it was: `found` is there now, and `before` was agreed on."""
    if found is None or not found.is_hashed or not entry.is_arrived(found):
        return None
    came = entry if entry.is_hashed else entry.with_digest(found.tail)
    is_new = before is None or (before.kind, before.tail) != (came.kind, came.tail)
    # A new content came with its permissions, whatever they are now.
    return came if is_new or essence(found, mode_mask) == essence(came, mode_mask) else None
