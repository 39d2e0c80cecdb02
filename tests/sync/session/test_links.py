"""Hard links in a continuous sync: each name is a file of its own on the other side."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from kled_sync.decide.modes import Mode
from kled_sync.session.kept import undo_on_both
from tests.kit.endpoints import content, kept_same


def write_in_place(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"in place")


def save_anew(path: Path) -> None:
    """As most editors do: a new file in the place of that name."""
    new = path.with_name("new")
    new.write_bytes(b"saved anew")
    new.rename(path)


@pytest.fixture
def linked(alpha: Path) -> Path:
    os.link(alpha / "a", alpha / "a2")
    os.link(alpha / "a", alpha / "sub" / "a3")
    return alpha


@pytest.mark.parametrize("mode", [Mode.TWO_WAY_SAFE, Mode.TWO_WAY_RESOLVED, Mode.ONE_WAY_REPLICA])
@pytest.mark.parametrize("write", [write_in_place, save_anew])
@pytest.mark.parametrize("name", ["a", "a2", "sub/a3"])
async def test_a_write_through_one_name_comes_over_under_all_that_have_it(
    tmp_path: Path, linked: Path, beta: Path, write: Callable[[Path], None], name: str, mode: Mode
) -> None:
    async with kept_same(tmp_path, linked, beta, mode=mode) as sync:
        await sync.flush()
        assert content(beta) == content(linked)
        assert (beta / "a").stat().st_nlink == 1
        write(linked / name)
        await sync.flush()
        assert content(beta) == content(linked)
        changes = sync.health.changes
        for _ in range(3):
            await sync.flush()
        assert sync.health.changes == changes
        assert (sync.health.conflicts, sync.health.problems) == ({}, {})


async def test_a_change_on_the_other_side_is_one_of_that_name_alone(
    tmp_path: Path, linked: Path, beta: Path
) -> None:
    """There it is a file of its own: the name that it comes to is parted from the others."""
    async with kept_same(tmp_path, linked, beta) as sync:
        await sync.flush()
        (beta / "sub" / "a3").write_text("beta's")
        await sync.flush()
        assert content(linked) == content(beta)
        assert [(linked / name).stat().st_nlink for name in ("a", "a2", "sub/a3")] == [2, 2, 1]
        # What is kept of the replaced name is no third one, through which it would change.
        write_in_place(linked / "a")
        await sync.flush()
        await undo_on_both(sync.sides, b"sub/a3", since_s=0.0)
        await sync.flush()
        assert (linked / "sub" / "a3").read_bytes() == b"1" == (beta / "sub" / "a3").read_bytes()
        # Both that are one file still, in one job: the first changes the other's time of change.
        for name in ("a", "a2"):
            (beta / name).write_text(f"beta's {name}")
        await sync.flush()
        assert content(linked) == content(beta)
        changes = sync.health.changes
        await sync.flush()
        assert (sync.health.changes, sync.health.conflicts, sync.health.problems) == (
            changes, {}, {},
        )  # fmt: skip


async def test_names_of_one_file_change_on_both_sides(
    tmp_path: Path, linked: Path, beta: Path
) -> None:
    """A write through one name is one of all of them, so it contradicts that of the other side."""
    async with kept_same(tmp_path, linked, beta) as sync:
        await sync.flush()
    (beta / "sub" / "a3").write_text("beta's")
    write_in_place(linked / "a")
    async with kept_same(tmp_path, linked, beta) as sync:
        await sync.flush()
        assert set(sync.health.all_conflicts()) == {b"sub/a3"}
        assert (linked / "sub" / "a3").read_bytes() == b"in place"
        assert (beta / "sub" / "a3").read_bytes() == b"beta's"
        assert (beta / "a2").read_bytes() == b"in place"


async def test_names_that_come_and_go_are_followed(
    tmp_path: Path, linked: Path, beta: Path
) -> None:
    async with kept_same(tmp_path, linked, beta) as sync:
        await sync.flush()
        (linked / "sub" / "a3").unlink()
        os.link(linked / "a2", linked / "sub" / "a4")
        (linked / "sub").rename(linked / "moved")
        await sync.flush()
        assert content(beta) == content(linked)
        write_in_place(linked / "moved" / "a4")
        await sync.flush()
        assert content(beta) == content(linked)
        assert content(beta)["a"] == (b"in place", False)


@pytest.mark.parametrize("gone", ["name", "directory", "replaced", "moved"])
async def test_a_write_through_a_name_that_goes_comes_over_under_the_others(
    tmp_path: Path, linked: Path, beta: Path, gone: str
) -> None:
    """Nothing tells of the directory that the name which is left is in."""
    (linked / "a2").unlink()
    async with kept_same(tmp_path, linked, beta) as sync:
        await sync.flush()
        through = "a" if gone in {"name", "replaced"} else "sub/a3"
        write_in_place(linked / through)
        if gone == "name":
            (linked / "a").unlink()
        elif gone == "replaced":
            save_anew(linked / "a")
        elif gone == "directory":
            shutil.rmtree(linked / "sub")
        else:
            (linked / "sub").rename(tmp_path / "away")
        await sync.flush()
        assert content(beta) == content(linked)
        left = "sub/a3" if through == "a" else "a"
        assert (beta / left).read_bytes() == b"in place"
