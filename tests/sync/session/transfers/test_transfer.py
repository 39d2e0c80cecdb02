"""What is under way while several transfers go on beside each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio
import trio.testing

from kled_sync.decide.modes import SyncSide
from kled_sync.decide.reconcile import PathChange
from kled_sync.session.agreed.agreement import Agreement
from kled_sync.session.sides.side import SideState
from kled_sync.session.transfers.transfer import SyncTransfer
from kled_sync.tree.entry import TreeEntry, make_directory, make_link
from kled_sync.tree.tree import Tree
from kled_sync.wire.messages import JobPlaced, Message, PathList, PlaceJob, Rows

LINK, DIRECTORY = make_link(b"to"), make_directory(0o755)


class AskedPeer:
    """Takes jobs, which the test answers."""

    name = "asked"

    def __init__(self) -> None:
        self.listener: Any = None
        self.jobs: list[int] = []

    def pass_on(self, _other: object, _passed: Callable[..., None]) -> None:
        pass

    async def send(self, message: Message) -> None:
        assert isinstance(message, PlaceJob)
        self.jobs.append(message.job)

    async def answer(self) -> None:
        """Say of the oldest that it is done."""
        await trio.testing.wait_all_tasks_blocked()
        job = self.jobs.pop(0)
        self.listener.took(JobPlaced(job=job, failed=Rows(), too_large=PathList()))
        await trio.testing.wait_all_tasks_blocked()


@pytest.fixture
def peer() -> AskedPeer:
    return AskedPeer()


@pytest.fixture
def transfer(peer: AskedPeer) -> SyncTransfer:
    sides = {side: SideState(peer, Tree()) for side in SyncSide}  # type: ignore[arg-type]
    return SyncTransfer(sides, Agreement(None), 0o777)


def change(path: bytes, new: TreeEntry | None, old: TreeEntry | None) -> PathChange:
    return PathChange(SyncSide.BETA, path, new, old)


async def test_what_is_under_way_again_stays_so_when_the_first_transfer_ends(
    transfer: SyncTransfer, peer: AskedPeer
) -> None:
    async with trio.open_nursery() as nursery:

        async def begin(*actions: PathChange) -> None:
            await transfer.carry_out(actions, urgent=False)

        # What comes is placed before anything is removed.
        nursery.start_soon(begin, change(b"q", LINK, None), change(b"p", None, LINK))
        await peer.answer()
        assert transfer.in_flight == {b"p"}
        nursery.start_soon(begin, change(b"q", LINK, LINK))
        await trio.testing.wait_all_tasks_blocked()
        await peer.answer()
        assert transfer.in_flight == {b"q"}
        await peer.answer()
    assert not transfer.in_flight


async def test_what_made_way_alone_is_under_way_until_the_other_is_there(
    transfer: SyncTransfer, peer: AskedPeer
) -> None:
    async with trio.open_nursery() as nursery:

        async def begin() -> None:
            await transfer.carry_out([change(b"p", LINK, DIRECTORY)], urgent=False)

        nursery.start_soon(begin)
        await peer.answer()  # the directory is gone
        assert transfer.in_flight == {b"p"}
        await peer.answer()
        assert not transfer.in_flight


async def test_a_directory_that_is_closed_at_the_end_is_under_way_until_then(
    transfer: SyncTransfer, peer: AskedPeer
) -> None:
    closed, tree = make_directory(0o555), transfer._sides[SyncSide.BETA].tree
    tree.root = DIRECTORY
    done = []
    async with trio.open_nursery() as nursery:

        async def begin() -> None:
            actions = [change(b"d", closed, None), change(b"d/link", LINK, None)]
            done.append(await transfer.carry_out(actions, urgent=False))

        nursery.start_soon(begin)
        await peer.answer()
        # A look that finds it open finds no change.
        assert tree.get(b"d") == DIRECTORY
        assert transfer.in_flight == {b"d", b"d/link"}
        await peer.answer()
        assert transfer.in_flight == {b"d"}
        await peer.answer()
        assert tree.get(b"d") == closed
        assert not transfer.in_flight
    assert [action.path for action in done[0].actions] == [b"d", b"d/link"]
