"""Undo where what one side lost and the renames that the other side followed are of one path."""

from __future__ import annotations

import base64
import os
import time
from pathlib import Path

import pytest

from kled_sync.endpoint import serving
from kled_sync.files.places import root_key
from kled_sync.files.writing.kept import KeptVersions
from kled_sync.session.continuous import ContinuousSync
from kled_sync.session.kept import undo_on_both
from tests.kit.endpoints import content, kept_same


@pytest.fixture
def alpha(tmp_path: Path) -> Path:
    root = tmp_path / "alpha"
    (root / "d" / "e").mkdir(parents=True)
    (root / "d" / "1").write_text("1")
    (root / "d" / "e" / "f").write_text("2")
    return root


async def settled(sync: ContinuousSync) -> None:
    for _ in range(2):
        await sync.flush()
    assert (sync.health.conflicts, sync.health.problems) == ({}, {})


async def edited_and_moved(
    sync: ContinuousSync, editor: Path, mover: Path, *, edits_first: bool
) -> None:
    if edits_first:
        (editor / "d" / "e" / "f").write_text("edited")
        await sync.flush()
    (mover / "d").rename(mover / "m")
    await sync.flush()
    if not edits_first:
        (editor / "m" / "e" / "f").write_text("edited")
        await sync.flush()


@pytest.mark.parametrize("edits_first", [True, False])
@pytest.mark.parametrize("moves_there", [True, False])
@pytest.mark.parametrize("path", ["", "m", "d", "m/e/f", "d/e/f"])
async def test_a_time_comes_back_whoever_edited_and_whoever_moved(
    tmp_path: Path, alpha: Path, beta: Path, path: str, moves_there: bool, edits_first: bool
) -> None:
    editor, mover = (alpha, beta) if moves_there else (beta, alpha)
    async with kept_same(tmp_path, alpha, beta) as sync:
        await sync.flush()
        before, then = content(alpha), time.time()
        await edited_and_moved(sync, editor, mover, edits_first=edits_first)
        moved = content(alpha)
        await undo_on_both(sync.sides, path.encode(), since_s=then, settle=sync.flush)
        await settled(sync)
        assert content(alpha) == content(beta)
        if path.endswith("f"):  # this one alone
            moved.pop("m/e/f")
            before = moved | {name: before[name] for name in ("d", "d/e", "d/e/f")}
        assert content(alpha) == before


@pytest.mark.parametrize("edits_first", [True, False])
@pytest.mark.parametrize("moves_there", [True, False])
async def test_the_last_change_comes_back_whoever_edited_and_whoever_moved(
    tmp_path: Path, alpha: Path, beta: Path, moves_there: bool, edits_first: bool
) -> None:
    """The move, and what was changed in the directory after it."""
    editor, mover = (alpha, beta) if moves_there else (beta, alpha)
    async with kept_same(tmp_path, alpha, beta) as sync:
        await sync.flush()
        before = content(alpha)
        await edited_and_moved(sync, editor, mover, edits_first=edits_first)
        await undo_on_both(sync.sides, b"m", since_s=0.0, settle=sync.flush)
        await settled(sync)
        assert content(alpha) == content(beta)
        if edits_first:
            before["d/e/f"] = (b"edited", False)
        assert content(alpha) == before


async def test_a_name_before_the_move_is_no_conflict_while_nothing_settles(
    tmp_path: Path, alpha: Path, beta: Path
) -> None:
    """As where the sync is paused: of that name the move is the last change."""
    async with kept_same(tmp_path, alpha, beta) as sync:
        await sync.flush()
        await edited_and_moved(sync, beta, alpha, edits_first=True)
        await undo_on_both(sync.sides, b"d/e/f", since_s=0.0)
        await settled(sync)
        assert content(alpha) == content(beta)
        assert content(alpha)["d/e/f"] == (b"edited", False)


async def test_old_versions_go_while_a_sync_runs(
    tmp_path: Path, alpha: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may run for months."""
    monkeypatch.setattr(KeptVersions, "limit", lambda _kept: 25_000)
    beta = tmp_path / "beta"
    kept = tmp_path / "state/kled/sync/roots" / root_key(os.fsencode(beta)) / "kept"
    kept.mkdir(parents=True)
    (kept / "7").write_text("of last year")
    (kept / "log").write_text(f"7 1.0 12 deleted {base64.b64encode(b'gone').decode()}\n")
    async with kept_same(tmp_path, alpha, beta) as sync:
        for number in range(8):
            (alpha / "large").write_text(str(number) * 6000)
            await sync.flush()
        held = {path.read_text()[0] for path in kept.iterdir() if path.name.isdecimal()}
        assert held == {"4", "5", "6"}  # of seven that were replaced the newest
    monkeypatch.setattr(KeptVersions, "limit", lambda _kept: 250_000)
    (kept / "7").write_text("of last year")
    log = (kept / "log").read_text()
    (kept / "log").write_text(f"7 1.0 12 deleted {base64.b64encode(b'gone').decode()}\n{log}")
    async with kept_same(tmp_path, alpha, beta) as sync:
        await sync.flush()
        assert (kept / "7").exists()
        monkeypatch.setattr(serving, "_SAVE_S", 0.0)
        await sync.flush()
        assert not (kept / "7").exists()
        assert (kept / "log").read_text() == log
