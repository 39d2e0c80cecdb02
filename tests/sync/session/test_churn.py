"""What people do to two folders while a sync runs: single steps, each in every place, and many.

The steps are those of the suites of unison (moves 1 to 6) and DevSpace (what comes to be, goes and
is renamed, here and there, at the top and deep, plain and ignored), the many those of lsyncd.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Final

import pytest

from kled_sync.files.options import Options
from tests.kit.endpoints import content, kept_same


def make(path: Path, kind: str, text: str = "1") -> None:
    if kind == "file":
        path.write_text(text)
    else:
        (path / "in").mkdir(parents=True)
        (path / "in" / "f").write_text(text)


def delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def rename_over(place: Path, _: Path) -> None:
    delete(place / "same")
    (place / "thing").rename(place / "same")


def swap(place: Path, _: Path) -> None:
    (place / "thing").rename(place / "t")
    (place / "same").rename(place / "thing")
    (place / "t").rename(place / "same")


# What is done to `thing` in a place, and what is there on both sides then, besides what the side
# that is ignored has alone: names, without what is in directories.
STEPS: Final[dict[str, tuple[Callable[[Path, Path], object], set[str]]]] = {
    "create": (lambda *_: None, {"thing"}),
    "delete": (lambda place, _: delete(place / "thing"), set()),
    "rename inside": (lambda place, _: (place / "thing").rename(place / "other"), {"other"}),
    "rename into a directory": (
        lambda place, _: (place / "thing").rename(place / "dir" / "thing"), {"dir/thing"},
    ),
    "rename out of the root": (lambda place, out: (place / "thing").rename(out), set()),
    "rename to what is ignored": (
        lambda place, _: (place / "thing").rename(place / "thing.ignored"), set(),
    ),
    "rename into an ignored directory": (
        lambda place, _: (place / "thing").rename(place / "dir.ignored" / "thing"), set(),
    ),
    "rename over another": (rename_over, {"same"}),
    "swap": (swap, {"thing", "same"}),
}  # fmt: skip


def synced(place: Path) -> dict[str, object]:
    return {n: what for n, what in content(place).items() if ".ignored" not in n}


@pytest.mark.parametrize("is_linked", [False, True])
async def test_each_step_is_followed_in_each_place(
    tmp_path: Path, alpha: Path, beta: Path, is_linked: bool
) -> None:
    roots = {"alpha": alpha, "beta": beta}
    if is_linked:
        (tmp_path / "link").symlink_to(alpha)
    cases = list(product(STEPS, ("file", "directory"), roots, ("top", "deep/er")))
    options = Options(durable="none", ignore=b"*.ignored\n")
    root = tmp_path / "link" if is_linked else alpha
    async with kept_same(tmp_path, root, beta, options=options) as sync:
        for number, (step, kind, side, depth) in enumerate(cases):
            place = roots[side] / depth / str(number)
            for name in ("dir", "dir.ignored"):
                (place / name).mkdir(parents=True)
            if step != "create":
                make(place / "thing", kind, f"thing {number}")
            if step in {"rename over another", "swap"}:
                make(place / "same", kind, f"same {number}")
        await sync.flush()
        for number, (step, kind, side, depth) in enumerate(cases):
            place = roots[side] / depth / str(number)
            if step == "create":
                make(place / "thing", kind, f"thing {number}")
            STEPS[step][0](place, tmp_path / f"out{number}")
        await sync.flush()
        assert (sync.health.problems, sync.health.conflicts) == ({}, {})
        for number, (step, kind, side, depth) in enumerate(cases):
            here, there = (root / depth / str(number) for root in (alpha, beta))
            case = step, kind, side, depth
            assert synced(here) == synced(there), case
            names = {n for n in synced(here) if "/in" not in n} - {"dir"}
            assert names == STEPS[step][1], case


async def test_four_that_change_their_names_in_turn(
    tmp_path: Path, alpha: Path, beta: Path
) -> None:
    """Files and directories, then back again: unison's moves 3 and 6."""
    names = ["one", "two", "three", "four"]
    for kind in ("file", "directory"):
        for name in names:
            make(alpha / f"{kind} {name}", kind, f"{kind} {name}")
    async with kept_same(tmp_path, alpha, beta) as sync:
        await sync.flush()
        before = content(alpha)
        for _ in names:
            for kind in ("file", "directory"):
                (alpha / f"{kind} one").rename(alpha / "away")
                for name, after in zip(names[1:], names, strict=False):
                    (alpha / f"{kind} {name}").rename(alpha / f"{kind} {after}")
                (alpha / "away").rename(alpha / f"{kind} four")
            await sync.flush()
            assert content(beta) == content(alpha)
        assert content(beta) == before
        assert (sync.health.problems, sync.health.conflicts) == ({}, {})


@pytest.mark.parametrize("renames", ["f", "d"])
async def test_a_rename_against_a_deletion_or_an_edit_loses_no_edit(
    tmp_path: Path, alpha: Path, beta: Path, renames: str
) -> None:
    """Unison's moves 4 and 5: the rename is a deletion and something new."""
    for name in ("f", "d/f"):
        for case in ("deleted", "edited"):
            path = alpha / case / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("before")
    async with kept_same(tmp_path, alpha, beta) as sync:
        await sync.flush()
    for case in ("deleted", "edited"):
        (alpha / case / renames).rename(alpha / case / "renamed")
    edited = "edited/f" if renames == "f" else "edited/d/f"
    (beta / edited).write_text("edited")
    delete(beta / "deleted" / renames)
    async with kept_same(tmp_path, alpha, beta) as sync:
        await sync.flush()
        assert content(alpha) == content(beta)
        assert (alpha / edited).read_text() == "edited"
        renamed = "renamed" if renames == "f" else "renamed/f"
        assert (alpha / "deleted" / renamed).read_text() == "before"
        assert not (alpha / "deleted" / renames).exists()


class Churn:
    """Random steps in one folder, as a program does them that nobody waits for."""

    def __init__(self, root: Path, seed: int) -> None:
        self._root, self._dice = root, random.Random(seed)

    def step(self) -> None:
        path, other = self._pick(), self._pick()
        kind = self._dice.randrange(12)
        try:
            if kind < 4:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(str(self._dice.random()) * self._dice.randrange(4))
            elif kind == 4:
                with path.open("a") as file:
                    file.write("more")
            elif kind == 5:
                path.rename(other)
            elif kind == 6:
                delete(path)
            elif kind == 7:
                path.chmod(self._dice.choice([0o644, 0o755]))
            elif kind == 8:
                path.symlink_to(self._dice.choice(["a", "nowhere"]))
            elif kind == 9:
                path.mkdir(parents=True)
            elif kind == 10:  # the one gets the other's name
                old = path.with_name(f"{path.name} old")
                path.rename(old)
                other.rename(path)
            else:
                path.rename(path.with_name(f"{path.name} old"))
                make(path, "directory", str(self._dice.random()))
        except OSError:
            pass  # as programs find it: it is there, or gone, or of another kind

    def _pick(self) -> Path:
        depth = self._dice.randrange(1, 4)
        return self._root.joinpath(*(self._dice.choice("abcdefgh") for _ in range(depth)))


@pytest.mark.parametrize("seed", range(0, 30, 10))
async def test_after_500_random_steps_both_sides_are_the_same(
    tmp_path: Path, alpha: Path, beta: Path, seed: int
) -> None:
    """On the one and the other side in turn."""
    sides = [Churn(root, seed + number) for number, root in enumerate((alpha, beta))]
    async with kept_same(tmp_path, alpha, beta) as sync:
        for number in range(500):
            sides[number // 25 % 2].step()
            if number % 25 == 24:
                await sync.flush()
        await sync.flush()
        assert (sync.health.problems, sync.health.conflicts) == ({}, {})
        assert content(beta) == content(alpha)
        assert len(content(alpha)) > 20
