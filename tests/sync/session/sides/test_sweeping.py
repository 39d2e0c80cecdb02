"""How often everything is looked at, by how a side notices changes."""

from __future__ import annotations

import pytest
import trio

from kled_sync.session.sides.peer import Peer
from kled_sync.session.sides.side import SideState
from kled_sync.session.sides.sweeping import any_of, is_watched, sweep_s
from kled_sync.tree.tree import Tree
from kled_sync.wire.messages import Watching
from tests.kit.endpoints import NoStream


@pytest.mark.parametrize(
    ("how", "words", "seconds", "watched"),
    [
        ("inotify", "", 120.0, True),
        ("fanotify", "", 120.0, True),
        ("hints", "", 30.0, False),
        ("sweeps", "", 10.0, False),
        ("inotify", "no watch is left", 10.0, False),
        ("of a later version", "", 10.0, False),
        (None, "", 10.0, False),
    ],
)
def test_who_is_told_less_looks_more_often(
    how: str | None, words: str, seconds: float, watched: bool
) -> None:
    side = SideState(Peer("beta", NoStream()), Tree())
    if how is not None:
        side.watching = Watching(request=1, how=how, words=words)
    assert (sweep_s(side), is_watched(side)) == (seconds, watched)


async def test_the_first_of_several_events_is_enough(autojump_clock: object) -> None:
    events = [trio.Event(), trio.Event()]
    with trio.move_on_after(60) as waiting:
        await any_of(events)
    assert waiting.cancelled_caught
    events[1].set()
    await any_of(events)
