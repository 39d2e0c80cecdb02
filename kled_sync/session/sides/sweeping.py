"""How long a side that is watched, or is not, goes without a look at everything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import trio

from kled_sync.session.sides.side import SideState

# Between looks at everything, by how a side notices changes; more often where it says why not.
_SWEEP_S: Final = {"inotify": 120.0, "fanotify": 120.0, "hints": 30.0}
_SWEEP_UNWATCHED_S: Final = 10.0
# The watchers that report every change.
_TOLD: Final = frozenset({"inotify", "fanotify"})


def is_watched(state: SideState) -> bool:
    """Whether every change is reported."""
    watching = state.watching
    return watching is not None and watching.how in _TOLD and not watching.words


def sweep_s(state: SideState) -> float:
    """Seconds between looks at everything."""
    watching = state.watching
    if watching is None or watching.words:
        return _SWEEP_UNWATCHED_S
    return _SWEEP_S.get(watching.how, _SWEEP_UNWATCHED_S)


async def any_of(events: Sequence[trio.Event]) -> None:
    """Wait for the first of them."""
    async with trio.open_nursery() as nursery:

        async def one(event: trio.Event) -> None:
            await event.wait()
            nursery.cancel_scope.cancel()

        for event in events:
            nursery.start_soon(one, event)
