"""Undo of permissions, owners and extended attributes that a sync changed alone."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from kled_sync.decide.attributes import FACT_KEEPS, AttributeWish
from kled_sync.decide.modes import Mode, SyncSide
from kled_sync.endpoint.holding import HeldRoot
from kled_sync.endpoint.serving import Hold
from kled_sync.files.options import Options
from kled_sync.session.continuous import ContinuousSync
from kled_sync.session.kept import history, undo_on_both
from tests.kit.endpoints import content, copy_once, kept_same

ALL = Options(mode_mask=0o777, durable="none")
EVERYTHING = AttributeWish(owner=True, group=True, special=True, xattrs=True)
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to others, which root may")


def state(path: Path) -> tuple[int, int, int, dict[str, bytes]]:
    found = path.lstat()
    xattrs = {name: os.getxattr(path, name) for name in os.listxattr(path)}
    return found.st_mode, found.st_uid, found.st_gid, xattrs


async def undone(sync: ContinuousSync, path: bytes = b"", *, since_s: float = 0.0) -> None:
    await undo_on_both(sync.sides, path, since_s=since_s)
    for _ in range(2):
        await sync.flush()
    assert (sync.health.conflicts, sync.health.problems, sync.health.attributes) == ({}, {}, {})


def make_program(path: Path) -> None:
    os.chown(path, 1234, 2345)
    path.chmod(0o4711)
    os.setxattr(path, "user.colour", b"red")


CHANGES: list[Callable[[Path], object]] = [
    lambda path: path.chmod(0o700),
    lambda path: path.chmod(0o555),
    lambda path: os.setxattr(path, "user.colour", b"red"),
    lambda path: os.removexattr(path, "user.colour"),
    pytest.param(lambda path: os.chown(path, 1234, 2345), marks=as_root),  # type: ignore[list-item]
    pytest.param(make_program, marks=as_root),  # type: ignore[list-item]
]


@pytest.mark.parametrize("name", ["a", "sub"])
@pytest.mark.parametrize("change", CHANGES)
async def test_undo_gives_back_what_changed_alone_and_can_be_undone(
    tmp_path: Path, alpha: Path, beta: Path, change: Callable[[Path], object], name: str
) -> None:
    os.setxattr(alpha / name, "user.colour", b"blue")
    async with kept_same(tmp_path, alpha, beta, options=ALL, attributes=EVERYTHING) as sync:
        await sync.flush()
        before = state(beta / name)
        change(alpha / name)
        await sync.flush()
        after = state(alpha / name)
        assert state(beta / name) == after != before
        path = name.encode()
        newest, *_ = await history(sync.sides[SyncSide.BETA], path)
        assert newest["what"] == "attributes"
        for wanted in (before, after, before):
            await undone(sync, path)
            assert state(alpha / name) == wanted == state(beta / name)


async def test_permissions_come_back_in_a_sync_of_permissions_alone(
    tmp_path: Path, alpha: Path, beta: Path
) -> None:
    """What is not synced stays as it is."""
    async with kept_same(tmp_path, alpha, beta, options=ALL) as sync:
        await sync.flush()
        (beta / "a").chmod(0o600)
        await sync.flush()
        assert (alpha / "a").stat().st_mode & 0o777 == 0o600
        os.setxattr(alpha / "a", "user.own", b"1")
        await undone(sync, b"a")
        assert [root.joinpath("a").stat().st_mode & 0o777 for root in (alpha, beta)] == [0o644] * 2
        assert os.listxattr(alpha / "a") == ["user.own"]


async def test_an_executable_bit_comes_back(tmp_path: Path, alpha: Path, beta: Path) -> None:
    async with kept_same(tmp_path, alpha, beta) as sync:
        await sync.flush()
        (alpha / "a").chmod(0o755)
        await sync.flush()
        assert content(beta) == content(alpha)
        await undone(sync, b"a")
        assert content(beta)["a"] == (b"1", False) == content(alpha)["a"]


async def test_a_content_that_comes_back_has_its_attributes(
    tmp_path: Path, alpha: Path, beta: Path
) -> None:
    os.setxattr(alpha / "a", "user.colour", b"blue")
    (alpha / "a").chmod(0o640)
    async with kept_same(tmp_path, alpha, beta, options=ALL, attributes=EVERYTHING) as sync:
        await sync.flush()
        before = state(beta / "a")
        (alpha / "a").unlink()
        await sync.flush()
        await undone(sync, b"a")
        assert state(alpha / "a") == before == state(beta / "a")
        (alpha / "a").unlink()
        (alpha / "a").write_text("new")
        await sync.flush()
        assert state(beta / "a")[3] == {}
        await undone(sync, b"a")
        assert content(alpha)["a"] == (b"1", False)
        assert state(alpha / "a") == before == state(beta / "a")


async def test_undo_to_a_time_brings_back_content_and_attributes(
    tmp_path: Path, alpha: Path, beta: Path
) -> None:
    async with kept_same(tmp_path, alpha, beta, options=ALL, attributes=EVERYTHING) as sync:
        await sync.flush()
        names = ("", "a", "sub", "sub/b")
        before = [state(beta / name) for name in names]
        then = time.time()
        for side, mode in ((alpha, 0o711), (alpha, 0o755), (alpha, 0o700)):
            for name in names:
                (side / name).chmod(mode)
            (side / "a").write_text(f"{mode}")
            os.setxattr(side / "sub", "user.mode", b"%o" % mode)
            await sync.flush()
        await undone(sync, since_s=then)
        assert [state(beta / name) for name in names] == before
        assert [state(alpha / name) for name in names] == before
        assert content(alpha)["a"] == (b"1", False)


async def test_attributes_that_lost_a_conflict_come_back(
    tmp_path: Path, alpha: Path, beta: Path
) -> None:
    async with kept_same(tmp_path, alpha, beta, attributes=EVERYTHING) as sync:
        await sync.flush()
    for root in (alpha, beta):
        os.setxattr(root / "a", "user.side", root.name.encode())
    async with kept_same(tmp_path, alpha, beta, attributes=EVERYTHING) as sync:
        await sync.flush()
        assert await sync.resolve(b"a", SyncSide.ALPHA) == 1
        await sync.flush()
        assert os.getxattr(beta / "a", "user.side") == b"alpha"
        await undone(sync, b"a")
        assert [os.getxattr(root / "a", "user.side") for root in (alpha, beta)] == [b"beta"] * 2


async def test_of_a_first_copy_no_attributes_are_kept(
    tmp_path: Path, alpha: Path, beta: Path
) -> None:
    for path in (alpha, *alpha.rglob("*")):
        os.setxattr(path, "user.colour", b"blue")
    async with kept_same(tmp_path, alpha, beta, options=ALL, attributes=EVERYTHING) as sync:
        await sync.flush()
        found = [row["what"] for row in await history(sync.sides[SyncSide.BETA], b"")]
        assert set(found) == {"made"}


async def test_what_a_copy_replaced_of_permissions_comes_back(
    tmp_path: Path, alpha: Path, beta: Path
) -> None:
    await copy_once(tmp_path, alpha, beta)
    (alpha / "a").chmod(0o600)
    (alpha / "sub").chmod(0o700)
    await copy_once(tmp_path, alpha, beta)
    async with kept_same(tmp_path, alpha, beta, Mode.TWO_WAY_SAFE, ALL) as sync:
        await sync.flush()
        await undone(sync)
        assert (beta / "a").stat().st_mode & 0o777 == 0o644
        assert (alpha / "sub").stat().st_mode & 0o777 == 0o755


async def test_an_older_side_is_told_nothing_of_it(tmp_path: Path, alpha: Path, beta: Path) -> None:
    class Older(HeldRoot):
        def facts(self) -> dict[str, object]:
            return {name: value for name, value in super().facts().items() if name != FACT_KEEPS}

    holds: dict[SyncSide, Hold] = {SyncSide.BETA: Older}
    async with kept_same(tmp_path, alpha, beta, holds=holds, attributes=EVERYTHING) as sync:
        await sync.flush()
        os.setxattr(alpha / "a", "user.colour", b"blue")
        await sync.flush()
        assert state(beta / "a") == state(alpha / "a")
        found = [row["what"] for row in await history(sync.sides[SyncSide.BETA], b"a")]
        assert found == ["made"]
