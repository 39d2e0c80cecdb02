"""A repository synced with its `.git`: checkouts and commits on either side stay good on both.

`git status` writes the index unless it is told not to (git(1), --no-optional-locks); on both sides
at once that is a conflict like any other.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.kit.endpoints import content, kept_same

pytestmark = pytest.mark.slow
IDENTITY = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "gc.auto=0")


def git(root: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "--no-optional-locks", *IDENTITY, *words],
        cwd=root, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, (words, done.stderr)
    return done.stdout


def write(root: Path, round_: int) -> None:
    for number in range(30):
        path = root / f"d{number % 5}" / f"f{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{round_ * (number % 3)} {number}\n" * 20)


async def test_git_is_clean_on_both_sides_after_each_step(tmp_path: Path) -> None:
    alpha, beta = tmp_path / "alpha", tmp_path / "beta"
    alpha.mkdir()
    git(alpha, "init", "-q", "-b", "main")
    write(alpha, 1)
    git(alpha, "add", "-A")
    git(alpha, "commit", "-qm", "1")
    git(alpha, "checkout", "-qb", "other")
    write(alpha, 2)
    (alpha / "d0" / "f0").unlink()
    git(alpha, "add", "-A")
    git(alpha, "commit", "-qm", "2")
    async with kept_same(tmp_path / "state", alpha, beta) as sync:

        async def check() -> None:
            await sync.flush()
            assert sync.health.conflicts == {}
            for root in (alpha, beta):
                assert git(root, "status", "--porcelain") == ""
                git(root, "fsck", "--strict")
            assert git(alpha, "rev-parse", "HEAD") == git(beta, "rev-parse", "HEAD")

        await check()
        git(alpha, "checkout", "-q", "main")
        await check()
        await sync.flush()  # what `git status` wrote on both sides
        write(beta, 3)
        git(beta, "add", "-A")
        git(beta, "commit", "-qm", "3")
        await check()
        await sync.flush()
        git(alpha, "checkout", "-q", "other")
        git(alpha, "rebase", "-q", "-X", "theirs", "main")
        await check()


async def test_gc_deletes_what_it_has_packed_without_a_question(tmp_path: Path) -> None:
    alpha, beta = tmp_path / "alpha", tmp_path / "beta"
    alpha.mkdir()
    git(alpha, "init", "-q", "-b", "main")
    for number in range(150):
        (alpha / str(number)).write_text(str(number))
    git(alpha, "add", "-A")
    git(alpha, "commit", "-qm", "1")
    async with kept_same(tmp_path / "state", alpha, beta) as sync:
        await sync.flush()
        git(alpha, "gc", "-q")
        await sync.flush()
        assert content(beta) == content(alpha)
        git(beta, "fsck", "--strict")
        # Nor do they count among what went a moment ago.
        for number in range(20):
            (beta / str(number)).unlink()
        await sync.flush()
        assert content(beta) == content(alpha)
