"""A continuous sync of directories in which their owner may not write."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from kled_sync.decide.modes import SyncSide
from kled_sync.endpoint.serving import Hold
from kled_sync.files.options import Options
from kled_sync.session.kept import undo_on_both
from tests.kit.endpoints import content, copy_once, kept_same
from tests.kit.unprivileged import OrdinaryRoot

ALL = Options(mode_mask=0o777, durable="none")
ORDINARY: dict[SyncSide, Hold] = dict.fromkeys(SyncSide, OrdinaryRoot)


def modes(root: Path) -> dict[str, int]:
    paths = [root, *root.rglob("*")]
    return {str(p.relative_to(root)): p.lstat().st_mode & 0o7777 for p in paths}


def replace(sub: Path) -> None:
    (sub / "b").write_text("another")


def remove(sub: Path) -> None:
    (sub / "b").unlink()


def create(sub: Path) -> None:
    (sub / "new").mkdir()
    (sub / "new" / "file").write_text("new")
    (sub / "link").symlink_to("b")


def rename(sub: Path) -> None:
    (sub / "b").rename(sub / "c")


def rename_inside(sub: Path) -> None:
    (sub / "d").rename(sub / "e")


def move_out(sub: Path) -> None:
    (sub / "d").rename(sub.parent / "d")


def move_in(sub: Path) -> None:
    (sub.parent / "away").rename(sub / "here")


def remove_below(sub: Path) -> None:
    (sub / "d" / "f").unlink()
    (sub / "d").rmdir()


CHANGES = [replace, remove, create, rename, rename_inside, move_out, move_in, remove_below]


@pytest.mark.parametrize("change", CHANGES)
async def test_what_changes_in_a_closed_directory_comes_over(
    tmp_path: Path, alpha: Path, beta: Path, change: Callable[[Path], None]
) -> None:
    """As on a side whose user is not root; who owns the other has opened it and closed it again."""
    for directory in (alpha / "sub" / "d", alpha / "away"):
        directory.mkdir()
        (directory / "f").write_text("f")
        directory.chmod(0o500)
    (alpha / "sub").chmod(0o555)
    async with kept_same(tmp_path, alpha, beta, options=ALL, holds=ORDINARY) as sync:
        await sync.flush()
        assert modes(beta)["sub"] == 0o555
        change(alpha / "sub")
        await sync.flush()
        assert (sync.health.problems, sync.health.conflicts) == ({}, {})
        assert content(beta) == content(alpha)
        assert modes(beta) == modes(alpha)
        changes = sync.health.changes
        await sync.flush()
        assert sync.health.changes == changes


async def test_an_error_in_a_closed_directory_leaves_it_closed(
    tmp_path: Path, alpha: Path, beta: Path
) -> None:
    async with kept_same(tmp_path, alpha, beta, options=ALL, holds=ORDINARY) as sync:
        (alpha / "sub").chmod(0o555)
        await sync.flush()
        (alpha / "sub" / "b").unlink()
        (alpha / "sub" / "b").mkdir()
        (beta / "sub" / "b").write_text("theirs")
        await sync.flush()
        assert b"sub/b" in sync.health.all_conflicts()
        assert modes(beta)["sub"] == 0o555


async def test_an_undo_in_a_closed_directory_leaves_it_closed(
    tmp_path: Path, alpha: Path, beta: Path
) -> None:
    (alpha / "sub").chmod(0o555)
    async with kept_same(tmp_path, alpha, beta, options=ALL, holds=ORDINARY) as sync:
        await sync.flush()
        (alpha / "sub" / "b").unlink()
        await sync.flush()
        assert await undo_on_both(sync.sides, b"sub/b", since_s=0.0) == {
            SyncSide.ALPHA: [],
            SyncSide.BETA: [b"sub/b"],
        }
        await sync.flush()
        assert (alpha / "sub" / "b").read_text() == "2"
        assert modes(beta) == modes(alpha)
        assert modes(beta)["sub"] == 0o555


@pytest.mark.parametrize("change", CHANGES)
async def test_a_copy_changes_a_closed_directory_and_gives_it_the_mode_and_time(
    tmp_path: Path, alpha: Path, beta: Path, change: Callable[[Path], None]
) -> None:
    for directory in (alpha / "sub" / "d", alpha / "away"):
        directory.mkdir()
        (directory / "f").write_text("f")
    (alpha / "sub").chmod(0o555)
    await copy_once(tmp_path, alpha, beta, holds=ORDINARY)
    change(alpha / "sub")
    result, _ = await copy_once(tmp_path, alpha, beta, delete=True, holds=ORDINARY)
    assert result.done.failures == []
    assert content(beta) == content(alpha)
    assert modes(beta) == modes(alpha)
    assert (beta / "sub").stat().st_mtime_ns == (alpha / "sub").stat().st_mtime_ns


async def test_what_is_staged_in_a_closed_root_is_no_trouble(tmp_path: Path, alpha: Path) -> None:
    """Its parent is not writable either: the folder for staging is in it."""
    beta = tmp_path / "above" / "beta"
    beta.mkdir(parents=True)
    beta.chmod(0o555)
    beta.parent.chmod(0o555)
    alpha.chmod(0o555)
    async with kept_same(tmp_path, alpha, beta, options=ALL, holds=ORDINARY) as sync:
        await sync.flush()
        assert sync.health.problems == {}
        assert (beta / "a").read_text() == "1"
        (alpha / "a").write_text("changed")
        await sync.flush()
        assert (beta / "a").read_text() == "changed"
        assert beta.stat().st_mode & 0o777 == 0o555
    beta.parent.chmod(0o755)


@pytest.mark.parametrize("mode", [0, 0o300, 0o400])
async def test_a_directory_that_its_owner_may_not_read_is_named_and_stays(
    tmp_path: Path, alpha: Path, beta: Path, mode: int
) -> None:
    async with kept_same(tmp_path, alpha, beta, options=ALL, holds=ORDINARY) as sync:
        await sync.flush()
        (beta / "sub").chmod(mode)
        (alpha / "sub" / "b").write_text("changed")
        await sync.flush()
        assert set(sync.health.all_problems()) <= {b"sub", b"sub/b"} != set()
        assert sync.health.all_problems()
        assert modes(beta)["sub"] == mode
        assert (alpha / "sub" / "b").read_text() == "changed"
        (beta / "sub").chmod(0o755)
        await sync.flush()
        assert content(beta) == content(alpha)
        assert sync.health.all_problems() == {}


async def test_permissions_of_the_roots_themselves_come_over(
    tmp_path: Path, alpha: Path, beta: Path
) -> None:
    async with kept_same(tmp_path, alpha, beta, options=ALL, holds=ORDINARY) as sync:
        await sync.flush()
        alpha.chmod(0o500)
        await sync.flush()
        assert modes(beta) == modes(alpha)
        (alpha / "a").write_text("changed")
        beta.chmod(0o750)
        await sync.flush()
        await sync.flush()
        assert modes(beta) == modes(alpha)
        assert modes(alpha)["."] == 0o750
        assert content(beta) == content(alpha)
