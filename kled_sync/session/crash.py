"""What is made of an earlier run's intentions, which it was killed before it could confirm."""

from __future__ import annotations

from kled_sync.decide.modes import SyncSide
from kled_sync.session.agreed.agreement import Agreement
from kled_sync.session.sides.side import SideState


async def learn_intended(agreement: Agreement, sides: dict[SyncSide, SideState]) -> None:
    """A side that has what the last run was bringing there has agreed on that.

    Without this a file that is changed again on the side it came from would have changed on both.
    What that side itself has says nothing. Raises KledError.
    """
    intended = agreement.unconfirmed()
    for side, state in sides.items():
        here = {p: i.entry for p, i in intended.items() if i.side is side}
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
            found = state.tree.get(path)
            if found is not None and found.is_hashed and entry.is_arrived(found):
                agreement.note(path, found)
    agreement.forget(intended)
