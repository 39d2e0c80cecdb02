"""A directory that is renamed on one side is renamed on the other, not copied."""

from __future__ import annotations

import os
import shutil
from contextlib import closing
from pathlib import Path

import pytest

from kled_sync.decide.modes import Mode, SyncSide
from kled_sync.decide.reconcile import PathChange, Reconciler
from kled_sync.files.writing.placing import Placer
from kled_sync.session.agreed.agreement import Agreement
from kled_sync.session.kept import history, undo, undo_on_both
from kled_sync.tree.entry import TreeEntry, make_directory, make_file
from kled_sync.watching.inotify import Inotify
from tests.kit.endpoints import content, copy_once, kept_same


@pytest.fixture
def alpha(tmp_path: Path) -> Path:
    root = tmp_path / "alpha"
    (root / "d" / "e").mkdir(parents=True)
    for number in range(20):
        (root / "d" / str(number)).write_text(f"content {number}")
    (root / "d" / "e" / "f").write_text("1")
    (root / "stays").write_text("2")
    return root


def inodes(root: Path) -> set[int]:
    return {path.stat().st_ino for path in root.rglob("*")}


async def test_it_is_the_same_directory_afterwards_and_comes_back(
    tmp_path: Path, alpha: Path
) -> None:
    beta = tmp_path / "beta"
    async with kept_same(tmp_path, alpha, beta) as sync:
        await sync.flush()
        there = inodes(beta / "d")
        (alpha / "in").mkdir()
        (alpha / "d").rename(alpha / "in" / "m")
        await sync.flush()
        assert content(beta) == content(alpha)
        assert inodes(beta / "in" / "m") == there
        far = sync.sides[SyncSide.BETA]
        moved = [row for row in await history(far, b"d") if row["what"] == "moved"]
        assert [(row["path"], row["from"]) for row in moved] == [("in/m", ["d"])]
        # A save under the new name, on either side, is one.
        (beta / "in" / "m" / "e" / "f").write_text("theirs")
        await sync.flush()
        assert (alpha / "in" / "m" / "e" / "f").read_text() == "theirs"
        assert set(await undo(far, b"d", since_s=0.0, purge=False)) == {b"d", b"in/m"}
        await sync.flush()
        assert content(beta) == content(alpha)
        assert inodes(beta / "d") & there
        assert sync.health.conflicts == {}
    again: list[PathChange] = []
    async with kept_same(tmp_path, alpha, beta) as sync:
        sync._log = again.extend
        await sync.flush()
    assert again == []


async def test_one_file_of_a_moved_directory_comes_back_alone(tmp_path: Path, alpha: Path) -> None:
    beta = tmp_path / "beta"
    async with kept_same(tmp_path, alpha, beta) as sync:
        await sync.flush()
        (beta / "d" / "e" / "f").write_text("before the move")
        await sync.flush()
        (alpha / "d").rename(alpha / "m")
        await sync.flush()
        (alpha / "m" / "1").write_text("after the move")
        await sync.flush()
        far = sync.sides[SyncSide.BETA]
        rows = await history(far, b"m/2")
        assert [(row["what"], row["from"]) for row in rows] == [("moved", ["d/2"]), ("made", [])]
        await undo_on_both(sync.sides, b"m/1", since_s=0.0)
        await sync.flush()
        assert (alpha / "m" / "1").read_text() == "content 1"  # the save, not the move
        await undo_on_both(sync.sides, b"m/2", since_s=0.0)
        await sync.flush()
        assert content(beta) == content(alpha)
        assert (alpha / "d" / "2").read_text() == "content 2"
        assert not (alpha / "m" / "2").exists()
        assert len(list((alpha / "m").iterdir())) == 20
        assert (sync.health.conflicts, sync.health.problems) == ({}, {})


async def test_what_cannot_be_moved_as_one_is_moved_file_by_file(
    tmp_path: Path, alpha: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object) -> None:
        raise PermissionError(13, "no")

    beta = tmp_path / "beta"
    monkeypatch.setattr(Placer, "_move", refuse)
    async with kept_same(tmp_path, alpha, beta) as sync:
        await sync.flush()
        (alpha / "d").rename(alpha / "m")
        await sync.flush()
        assert content(beta) == content(alpha)
        assert sync.health.problems == {}


async def test_a_copy_that_deletes_renames_too(tmp_path: Path, alpha: Path) -> None:
    beta = tmp_path / "beta"
    await copy_once(tmp_path, alpha, beta)
    there = inodes(beta / "d")
    (alpha / "d").rename(alpha / "m")
    await copy_once(tmp_path, alpha, beta, delete=True)
    assert content(beta) == content(alpha)
    assert inodes(beta / "m") == there
    assert (beta / "m").stat().st_mtime_ns == (alpha / "m").stat().st_mtime_ns
    assert beta.stat().st_mtime_ns == alpha.stat().st_mtime_ns


def test_an_agreement_moves_with_the_directory_through_a_crash(tmp_path: Path) -> None:
    file = make_file(0o644, 1, 1, b"d" * 32)
    with closing(Agreement(tmp_path / "running")) as agreement:
        for path in (b"", b"d", b"d/e"):
            agreement.note(path, make_directory(0o755))
        agreement.note(b"d/e/f", file)
        agreement.intend_move(SyncSide.BETA, b"d", b"m")
        shutil.copytree(tmp_path / "running", tmp_path / "intended")
        agreement.note_move(b"d", b"m")
        agreement.flush()
        shutil.copytree(tmp_path / "running", tmp_path / "done")
    with closing(Agreement(tmp_path / "intended")) as found:
        assert {p: i.entry for p, i in found.unconfirmed().items()} == {b"m/e/f": file}
        assert found.tree.get(b"d/e/f") == file
    log = (tmp_path / "done" / "log").read_bytes()
    for _ in range(2):  # from the log, then from the tree
        with closing(Agreement(tmp_path / "done")) as found:
            assert found.unconfirmed() == {}
            assert found.tree.get(b"m/e/f") == file
            assert found.tree.get(b"d/e/f") is None
    # A crash came when the tree was written, and not the log begun anew.
    (tmp_path / "done" / "log").write_bytes(log)
    with closing(Agreement(tmp_path / "done")) as found:
        assert found.tree.get(b"m/e/f") == file


def test_a_watch_follows_a_directory_to_its_new_name(tmp_path: Path) -> None:
    """Also when another one gets the old name."""
    watches = Inotify()

    def add(name: str) -> None:
        descriptor = os.open(tmp_path / name, os.O_RDONLY)
        watches.add(name.encode(), descriptor)
        os.close(descriptor)

    (tmp_path / "d").mkdir()
    add("d")
    (tmp_path / "d").rename(tmp_path / "m")
    add("m")
    (tmp_path / "d").mkdir()
    add("d")
    watches.take()
    (tmp_path / "m" / "f").touch()
    assert watches.take()[0] == {b"m"}
    watches.close()


@pytest.mark.parametrize(
    ("mode", "here"),
    [(Mode.ONE_WAY_SAFE, None), (Mode.ONE_WAY_REPLICA, None), (Mode.TWO_WAY_SAFE, SyncSide.ALPHA)],
)
async def test_a_rename_comes_only_where_each_path_in_it_would(
    tmp_path: Path, alpha: Path, mode: Mode, here: SyncSide | None
) -> None:
    """No rename of BETA's in one direction, and no program that git would run on this machine."""
    beta = tmp_path / "beta"
    (alpha / "d" / ".git" / "hooks").mkdir(parents=True)
    hook = alpha / "d" / ".git" / "hooks" / "pre-commit"
    hook.write_text("#!/bin/sh")
    async with kept_same(tmp_path, alpha, beta, mode=mode, here=here) as sync:
        await sync.flush()
        before = content(alpha)
        (beta / "d").rename(beta / "m")
        await sync.flush()
        assert hook.exists()
        assert not (alpha / "m" / ".git" / "hooks" / "pre-commit").exists()
        if mode is not Mode.TWO_WAY_SAFE:
            assert content(alpha) == before


async def test_a_rename_is_not_decided_on_path_by_path(
    tmp_path: Path, alpha: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beta = tmp_path / "beta"
    seen: list[bytes] = []
    find = Reconciler._look

    def look(self: Reconciler, path: bytes, *entries: TreeEntry | None, deep: bool) -> int:
        seen.append(path)
        return find(self, path, *entries, deep=deep)

    async with kept_same(tmp_path, alpha, beta) as sync:
        await sync.flush()
        for here, there in ((alpha, beta), (beta, alpha)):
            monkeypatch.setattr(Reconciler, "_look", look)
            seen.clear()
            (here / "d").rename(here / "m")
            await sync.flush()
            assert content(there) == content(here)
            assert set(seen) <= {b"", b"m", b"d"}
            (here / "m").rename(here / "d")
            await sync.flush()
