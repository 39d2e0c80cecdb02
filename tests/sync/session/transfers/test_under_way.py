"""What waits while transfers run."""

from __future__ import annotations

import shutil
from pathlib import Path

import trio

from kled_sync.decide.modes import SyncSide
from kled_sync.decide.reconcile import PathChange
from kled_sync.session.transfers.under_way import UnderWay
from kled_sync.tree.entry import TreeEntry, make_directory, make_file
from tests.kit.endpoints import kept_same

DIRECTORY = make_directory(0)
FILE = make_file(0, 1, 1, bytes(32))


def gone(path: bytes, old: TreeEntry = FILE) -> PathChange:
    return PathChange(SyncSide.BETA, path, None, old)


def test_nothing_waits_where_nothing_is_under_way() -> None:
    actions = [gone(b"d", DIRECTORY), gone(b"d/f")]
    assert UnderWay(set()).ready(actions) == actions


def test_what_is_under_way_waits_and_what_is_below_it() -> None:
    under_way = UnderWay({b"d", b"e/f"})
    assert under_way.ready([gone(b"d"), gone(b"d/f/g"), gone(b"e/f"), gone(b"e/g")]) == [
        gone(b"e/g")
    ]


def test_a_directory_waits_for_what_is_in_it_to_go_or_to_make_way() -> None:
    under_way = UnderWay({b"d/e/f"})
    replaced = PathChange(SyncSide.BETA, b"d/e", FILE, DIRECTORY)
    dressed = PathChange(SyncSide.BETA, b"d", make_directory(0o755), DIRECTORY)
    other = gone(b"de", DIRECTORY)
    assert under_way.ready([replaced, dressed, gone(b"d", DIRECTORY), other]) == [dressed, other]


def test_what_waited_goes_on_once_when_that_has_ended() -> None:
    under_way = UnderWay({b"d/f", b"g", b"e/x/y"})
    actions = [gone(b"d/f"), gone(b"g"), gone(b"g/below"), gone(b"e", DIRECTORY)]
    assert under_way.ready(actions) == []
    assert under_way.released({b"other"}) == set()
    assert under_way.released({b"d/f"}) == {b"d"}
    assert under_way.released({b"d/f"}) == set()
    assert under_way.released({b"g"}) == {b"", b"g"}
    assert under_way.released({b"e/x/y"}) == {b""}


async def test_a_directory_goes_when_the_transfer_of_a_file_in_it_has_ended(tmp_path: Path) -> None:
    """As `git rebase` writes to .git/rebase-merge, and removes it when it has ended."""
    alpha, beta = tmp_path / "alpha", tmp_path / "beta"
    (alpha / "d").mkdir(parents=True)
    for name in ("f", "g"):
        (alpha / "d" / name).write_text("1")
    (alpha / "stays").write_text("")
    async with kept_same(tmp_path, alpha, beta) as sync:
        await sync.flush()
        sync.transfer.in_flight.add(b"d/f")
        shutil.rmtree(alpha / "d")
        with trio.fail_after(20):
            while (beta / "d" / "g").exists():
                await trio.sleep(0.005)
        (alpha / "stays").write_text("saved")  # is not held up, nor does what waits go round
        with trio.fail_after(20):
            while (beta / "stays").read_text() != "saved":
                await trio.sleep(0.005)
        assert sync.health.problems == {}
        sync.transfer.in_flight.discard(b"d/f")
        sync.transfer.released({b"d/f"})
        with trio.fail_after(20):
            while (beta / "d").exists():
                await trio.sleep(0.005)
        assert sync.health.problems == {}
