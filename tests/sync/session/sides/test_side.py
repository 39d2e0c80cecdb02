"""What is known of a side while jobs and looks are answered at the same time."""

from __future__ import annotations

import pytest

from kled_sync.session.sides.peer import Peer
from kled_sync.session.sides.side import SideState
from kled_sync.tree.entry import TreeEntry, make_file
from kled_sync.tree.tree import Tree
from kled_sync.wire.messages import (
    JobPlaced,
    Listing,
    Message,
    Named,
    Numbered,
    PathList,
    Rows,
    Supplied,
)
from tests.kit.endpoints import NoStream

BEFORE, OURS, THEIRS = (make_file(0o644, n, 3, bytes([n]) * 32) for n in (1, 2, 3))


@pytest.fixture
def side() -> SideState:
    return SideState(Peer("beta", NoStream()), Tree())


def listing(entry: TreeEntry | None, directory: bytes = b"d") -> Listing:
    return Listing(directory=directory, entries=Named({b"f": entry} if entry is not None else {}))


PLACED = JobPlaced(job=1, failed=Rows(), too_large=PathList())


@pytest.mark.parametrize(
    ("messages", "before", "now", "known"),
    [
        ([listing(BEFORE), PLACED], BEFORE, OURS, OURS),
        ([listing(BEFORE), PLACED], BEFORE, None, None),
        ([listing(None), PLACED], None, OURS, OURS),
        # A save that a look has found since, in the job or after it.
        ([listing(BEFORE), PLACED, listing(THEIRS)], BEFORE, OURS, THEIRS),
        ([listing(BEFORE), PLACED, listing(None)], BEFORE, OURS, None),
        ([listing(BEFORE), PLACED, listing(BEFORE)], BEFORE, OURS, BEFORE),
        ([listing(BEFORE), PLACED, listing(THEIRS)], BEFORE, None, THEIRS),
        ([listing(BEFORE), listing(THEIRS), PLACED], BEFORE, OURS, THEIRS),
        ([listing(None), listing(THEIRS), PLACED], None, OURS, THEIRS),
        # A look elsewhere says nothing of it, one before the job only what it was.
        ([listing(BEFORE), PLACED, listing(THEIRS, b"e")], BEFORE, OURS, OURS),
        ([listing(BEFORE), listing(BEFORE.with_mode(0o755)), PLACED], BEFORE, OURS, OURS),
    ],
)
@pytest.mark.parametrize("kind", [JobPlaced, Supplied])
def test_what_a_look_has_found_since_is_newer_than_what_a_job_did(
    side: SideState,
    messages: list[Message],
    before: TreeEntry | None,
    now: TreeEntry | None,
    known: TreeEntry | None,
    kind: type[Message],
) -> None:
    wait = side.expect(1, kind)
    for message in messages:
        is_answer = message is PLACED and kind is Supplied
        side.took(Supplied(job=1, items={}) if is_answer else message)  # type: ignore[arg-type]
    side.take(wait, b"d/f", now, before)
    assert side.tree.get(b"d/f") == known


def test_a_side_is_awaited_while_it_is_asked_and_has_not_answered(side: SideState) -> None:
    """Its part of a job may be done long before the other side's is."""
    wait = side.expect(1, Supplied, is_asked=False)
    found = [side.is_awaited]
    wait.is_asked = True
    found.append(side.is_awaited)
    side.took(Supplied(job=1, items=Numbered()))
    assert [*found, side.is_awaited] == [False, True, False]
