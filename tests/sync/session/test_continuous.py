"""A sync that goes on, between two real folders."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import trio
from blake3 import blake3

from kled_sync.decide.modes import Mode, SyncSide
from kled_sync.decide.reconcile import PathChange
from kled_sync.endpoint.holding import HeldRoot
from kled_sync.files.options import Options
from kled_sync.session.agreed.agreement import Agreement
from kled_sync.session.kept import history, undo, undo_on_both
from kled_sync.session.transfers.transfer import CarriedOut
from kled_sync.tree.entry import make_file
from tests.kit.endpoints import content, kept_same
from tests.kit.unreadable import unreadable


async def test_what_changes_on_either_side_comes_to_the_other(
    tmp_path: Path, alpha: Path, beta: Path
) -> None:
    async with kept_same(tmp_path, alpha, beta) as sync:
        await sync.flush()
        assert content(beta) == content(alpha)
        (beta / "new").write_text("from beta")
        (alpha / "a").write_text("changed")
        (alpha / "sub" / "b").unlink()
        await sync.flush()
        assert (alpha / "new").read_text() == "from beta"
        assert (beta / "a").read_text() == "changed"
        assert content(beta) == content(alpha)
        (alpha / "deep" / "er").mkdir(parents=True)
        (alpha / "deep" / "er" / "f").write_text("x")
        await sync.flush()
        (alpha / "deep").rename(alpha / "moved")
        await sync.flush()
        assert content(beta) == content(alpha)


async def test_a_save_comes_over_by_itself(tmp_path: Path, alpha: Path, beta: Path) -> None:
    async with kept_same(tmp_path, alpha, beta) as sync:
        await sync.flush()
        (alpha / "a").write_text("saved")
        with trio.fail_after(20):
            while (beta / "a").read_text() != "saved":
                await trio.sleep(0.005)


async def test_a_conflict_keeps_both_and_is_resolved(
    tmp_path: Path, alpha: Path, beta: Path
) -> None:
    async with kept_same(tmp_path, alpha, beta) as sync:
        await sync.flush()
    (alpha / "a").write_text("alpha's")
    (beta / "a").write_text("beta's")
    async with kept_same(tmp_path, alpha, beta) as sync:
        await sync.flush()
        assert sync.health.conflicts == {b"a": "changed on both sides"}
        assert (alpha / "a").read_text() == "alpha's"
        assert (beta / "a").read_text() == "beta's"
        assert await sync.resolve(b"a", SyncSide.BETA) == 1
        await sync.flush()
        assert (alpha / "a").read_text() == "beta's"
        assert sync.health.conflicts == {}


@pytest.mark.parametrize("winner", SyncSide)
async def test_a_conflict_of_kinds_is_resolved_with_all_that_is_below(
    tmp_path: Path, alpha: Path, beta: Path, winner: SyncSide
) -> None:
    (beta / "d").mkdir(parents=True)
    (beta / "d" / "in").write_text("beta's")
    (alpha / "d").write_text("alpha's")
    wins = {SyncSide.ALPHA: alpha, SyncSide.BETA: beta}[winner]
    async with kept_same(tmp_path, alpha, beta) as sync:
        await sync.flush()
        assert list(sync.health.conflicts) == [b"d"]
        wanted = content(wins)
        assert await sync.resolve(b"d", winner) > 0
        await sync.flush()
        assert {n: c for n, c in content(alpha).items() if n in wanted} == wanted
        assert content(alpha) == content(beta)
        assert (sync.health.conflicts, sync.health.problems) == ({}, {})


async def test_who_resolves_a_conflict_lets_no_program_of_git_in(
    tmp_path: Path, alpha: Path, beta: Path
) -> None:
    (beta / "d" / ".git" / "hooks").mkdir(parents=True)
    (beta / "d" / ".git" / "hooks" / "pre-commit").write_text("evil")
    (beta / "d" / "f").write_text("beta's")
    (alpha / "d").write_text("alpha's")
    async with kept_same(tmp_path, alpha, beta, here=SyncSide.ALPHA) as sync:
        await sync.flush()
        await sync.resolve(b"d", SyncSide.BETA)
        await sync.flush()
        assert (alpha / "d" / "f").read_text() == "beta's"
        assert not list(alpha.rglob("pre-commit"))


async def test_what_is_ignored_is_left_alone_and_a_new_rule_deletes_nothing(
    tmp_path: Path, alpha: Path, beta: Path
) -> None:
    async with kept_same(tmp_path, alpha, beta) as sync:
        (alpha / "x.log").write_text("log")
        await sync.flush()
        assert (beta / "x.log").exists()
        (alpha / ".gitignore").write_text("*.log\nsub/\n")
        await sync.flush()
        (alpha / "x.log").unlink()
        (alpha / "y.log").write_text("not synced")
        await sync.flush()
        assert (beta / "x.log").read_text() == "log"
        assert (beta / "sub" / "b").read_text() == "2"
        assert not (beta / "y.log").exists()


async def test_links_that_lead_out_are_left_and_said(
    tmp_path: Path, alpha: Path, beta: Path
) -> None:
    (alpha / "out").symlink_to("/etc/passwd")
    (alpha / "sub" / "in").symlink_to("../a")
    async with kept_same(tmp_path, alpha, beta) as sync:
        await sync.flush()
        assert sync.health.problems == {b"out": "a link that leads out of the folder"}
    assert (beta / "sub" / "in").is_symlink()
    assert not (beta / "out").is_symlink()


async def test_what_cannot_be_read_is_said_and_the_rest_goes_on(
    tmp_path: Path, alpha: Path, beta: Path
) -> None:
    (alpha / "secret").write_text("x")
    (alpha / "secret").chmod(0)
    with unreadable(alpha / "secret"):
        async with kept_same(tmp_path, alpha, beta) as sync:
            await sync.flush()
            assert list(sync.health.problems) == [b"secret"]
    assert (beta / "a").exists()
    assert not (beta / "secret").exists()


async def test_a_replica_is_put_right_again(tmp_path: Path, alpha: Path, beta: Path) -> None:
    async with kept_same(tmp_path, alpha, beta, Mode.ONE_WAY_REPLICA) as sync:
        await sync.flush()
        (beta / "extra").write_text("goes")
        (beta / "a").write_text("goes back")
        await sync.flush()
        assert content(beta) == content(alpha)


async def test_a_burst_of_files_arrives_whole(tmp_path: Path, alpha: Path, beta: Path) -> None:
    async with kept_same(tmp_path, alpha, beta) as sync:
        await sync.flush()
        for number in range(40):
            directory = alpha / f"d{number}" / "e"
            directory.mkdir(parents=True)
            for name in range(25):
                (directory / str(name)).write_text(f"{number} {name}")
        await sync.flush()
        assert content(beta) == content(alpha)


async def test_a_small_save_overtakes_a_large_file(tmp_path: Path, alpha: Path, beta: Path) -> None:
    async with kept_same(tmp_path, alpha, beta, options=Options(durable="none")) as sync:
        await sync.flush()
        (alpha / "large").write_bytes(os.urandom(64 * 1024 * 1024))
        with trio.fail_after(30):
            while not sync.transfer.in_flight:
                await trio.sleep(0.001)
        (alpha / "a").write_text("small")
        with trio.fail_after(30):
            while (beta / "a").read_text() != "small":
                await trio.sleep(0.001)
        overtook = not (beta / "large").exists()
        await sync.flush()
        assert overtook
        assert content(beta) == content(alpha)


async def test_a_root_that_is_a_file_is_kept_the_same(tmp_path: Path, alpha: Path) -> None:
    async with kept_same(tmp_path, alpha / "a", tmp_path / "copy") as sync:
        await sync.flush()
        assert (tmp_path / "copy").read_text() == "1"
        (tmp_path / "copy").write_text("changed")
        await sync.flush()
        assert (alpha / "a").read_text() == "changed"


async def test_undo_brings_back_what_was_deleted_and_can_be_undone(
    tmp_path: Path, alpha: Path, beta: Path
) -> None:
    async with kept_same(tmp_path, alpha, beta) as sync:
        await sync.flush()
        (alpha / "sub" / "b").unlink()
        (alpha / "sub").rmdir()
        (alpha / "a").write_text("worse")
        await sync.flush()
        assert [row["what"] for row in await history(sync.sides[SyncSide.BETA], b"sub/b")] == [
            "deleted", "made",
        ]  # fmt: skip
        side = sync.sides[SyncSide.BETA]
        assert await undo(side, b"sub/b", since_s=0, purge=False) == [b"sub/b"]
        assert await undo(side, b"a", since_s=0, purge=False) == [b"a"]
        await sync.flush()
        assert (alpha / "sub" / "b").read_text() == "2"
        assert (alpha / "a").read_text() == "1"
        assert await undo(side, b"a", since_s=0, purge=False) == [b"a"]
        await sync.flush()
        assert (alpha / "a").read_text() == "worse"
        assert await undo(side, b"a", since_s=0, purge=True) == [b"a"]
        assert await undo(side, b"a", since_s=0, purge=False) == []


FILE, DIRECTORY, LINK = {"x": "1"}, {"x/y": "2", "x/z/w": "3"}, {"x": "-> a"}


def lay(root: Path, what: dict[str, str]) -> None:
    """In the place of what is at `x`."""
    path = root / "x"
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    for name, text in what.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        if text.startswith("-> "):
            (root / name).symlink_to(text[3:])
        else:
            (root / name).write_text(text)


@pytest.mark.parametrize("at", [False, True])
@pytest.mark.parametrize(
    ("before", "after"),
    [(one, other) for one in (FILE, DIRECTORY, LINK) for other in (FILE, DIRECTORY, LINK)
     if one is not other],
)  # fmt: skip
async def test_undo_of_another_kind_in_a_place_can_be_undone(
    tmp_path: Path,
    alpha: Path,
    beta: Path,
    before: dict[str, str],
    after: dict[str, str],
    at: bool,
) -> None:
    lay(alpha, before)
    async with kept_same(tmp_path, alpha, beta) as sync:
        await sync.flush()
        was, then = content(alpha), time.time()
        lay(alpha, after)
        await sync.flush()
        is_now = content(alpha)
        assert content(beta) == is_now
        for number, wanted in enumerate((was, is_now, was)):
            since_s = then if at and not number else 0
            await undo_on_both(sync.sides, b"x", since_s=since_s)
            await sync.flush()
            assert content(beta) == wanted, number
            assert content(alpha) == wanted, number


class AheadRoot(HeldRoot):
    """One whose clock is an hour ahead."""

    def facts(self) -> dict[str, Any]:
        return {**super().facts(), "clock_s": time.time() + 3600}


@pytest.mark.parametrize("at", [False, True])
async def test_undo_goes_by_one_clock_where_that_of_a_side_is_ahead(
    tmp_path: Path, alpha: Path, beta: Path, at: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = time.time
    async with kept_same(tmp_path, alpha, beta, holds={SyncSide.BETA: AheadRoot}) as sync:
        await sync.flush()
        with monkeypatch.context() as patched:
            patched.setattr(time, "time", lambda: ours() + 3600)
            (alpha / "a").write_text("2")
            await sync.flush()
        # A side's clock is known as exactly as its answer is quick.
        then = ours() + 5
        with monkeypatch.context() as patched:
            patched.setattr(time, "time", lambda: ours() + 10)
            (beta / "a").write_text("3")
            await sync.flush()
        await undo_on_both(sync.sides, b"a", since_s=then if at else 0)
        await sync.flush()
        assert (alpha / "a").read_text() == (beta / "a").read_text() == "2"
        found = await history(sync.sides[SyncSide.BETA], b"a")
        assert max(row["at"] for row in found if row["what"] == "replaced") < ours() + 60


async def test_undo_to_a_time_takes_away_what_came_since(
    tmp_path: Path, alpha: Path, beta: Path
) -> None:
    async with kept_same(tmp_path, alpha, beta) as sync:
        await sync.flush()
        then = time.time()
        (alpha / "new").mkdir()
        (alpha / "new" / "f").write_text("x")
        (alpha / "a").write_text("2")
        await sync.flush()
        (alpha / "a").write_text("3")
        await sync.flush()
        await undo(sync.sides[SyncSide.BETA], b"", since_s=then, purge=False)
        await sync.flush()
        assert content(alpha) == {"a": (b"1", False), "sub": "directory", "sub/b": (b"2", False)}
        assert content(beta) == content(alpha)


@pytest.mark.parametrize("read", [True, False])
@pytest.mark.parametrize("done", [True, False])
async def test_what_was_brought_just_before_a_crash_was_agreed_on(
    tmp_path: Path, alpha: Path, beta: Path, read: bool, done: bool
) -> None:
    async with kept_same(tmp_path, alpha, beta) as sync:
        await sync.flush()
    (beta / "a").write_text("sent")
    found = (beta / "a").stat()
    digest = blake3(b"sent").digest() if read else b""
    entry = make_file(found.st_mode, found.st_mtime_ns, found.st_size, digest)
    # The last run was bringing that to alpha when it was killed.
    with closing(Agreement(tmp_path / "session")) as agreement:
        agreement.intend(SyncSide.ALPHA, {b"a": entry, b"sub/b": entry, b"never": entry})
    if done:
        shutil.copy2(beta / "a", alpha / "a")
        (beta / "a").write_text("saved since")
    async with kept_same(tmp_path, alpha, beta) as sync:
        await sync.flush()
        assert sync.health.conflicts == {}
        assert not sync.agreement.unconfirmed()
    assert content(alpha) == content(beta)
    assert (alpha / "a").read_text() == ("saved since" if done else "sent")


async def test_what_is_equal_in_three_trees_is_there_once(
    tmp_path: Path, alpha: Path, beta: Path
) -> None:
    for _ in range(2):  # the second time what was agreed on is known from the beginning
        async with kept_same(tmp_path, alpha, beta) as sync:
            await sync.flush()
        trees = [sync.agreement.tree, *(state.tree for state in sync.sides.values())]
        packed = [tree.directories.packed(b"sub") for tree in trees]
        assert packed[0] is packed[1] is packed[2]


async def test_what_is_again_as_it_was_while_its_deletion_is_under_way_comes_back(
    tmp_path: Path, alpha: Path, beta: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `git checkout` of a branch and `git merge` of the one before it have it."""
    gate = trio.Event()
    async with kept_same(tmp_path, alpha, beta) as sync:
        await sync.flush()
        carry_out = sync.transfer.carry_out

        async def wait_and_carry_out(actions: Sequence[PathChange], *, urgent: bool) -> CarriedOut:
            await gate.wait()
            return await carry_out(actions, urgent=urgent)

        monkeypatch.setattr(sync.transfer, "carry_out", wait_and_carry_out)
        text = (alpha / "a").read_text()
        (alpha / "a").unlink()
        (alpha / "new").mkdir()
        for number in range(120):
            (alpha / "new" / str(number)).touch()
        with trio.fail_after(20):
            while b"a" not in sync.transfer.in_flight:
                await trio.sleep(0.005)
            (alpha / "a").write_text(text)
            while sync.sides[SyncSide.ALPHA].tree.get(b"a") is None or sync._again:
                await trio.sleep(0.005)
            while sync.health.phase != "watching":
                await trio.sleep(0.005)
        gate.set()
        await sync.flush()
        assert content(beta) == content(alpha)
