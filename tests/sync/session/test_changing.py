"""A source that changes between the plan of a copy and the reading of its files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from kled_sync.decide.modes import SyncSide
from kled_sync.endpoint.holding import HeldRoot
from kled_sync.wire.messages import Message
from tests.kit.endpoints import content, copy_once, kept_same

MIB: Final = 1024 * 1024


def shrink(large: Path) -> None:
    os.truncate(large, MIB + 17)


def grow(large: Path) -> None:
    with large.open("ab") as file:
        file.write(b"more" * MIB)


def rewrite(large: Path) -> None:
    """Of the same size."""
    with large.open("r+b") as file:
        file.write(b"other" * 1000)


def save_anew(large: Path) -> None:
    (large.parent / "new").write_bytes(b"short")
    (large.parent / "new").rename(large)


def become_small(large: Path) -> None:
    os.truncate(large, 3)


def empty(large: Path) -> None:
    os.truncate(large, 0)


@pytest.mark.parametrize("change", [shrink, grow, rewrite, save_anew, become_small, empty])
async def test_a_large_file_comes_as_it_is_when_it_is_read(
    tmp_path: Path, source: Path, change: Callable[[Path], None]
) -> None:
    """Never half of one and half of the other."""
    large, target = source / "large", tmp_path / "target"
    large.write_bytes(os.urandom(3 * MIB))
    result, _ = await copy_once(tmp_path, source, target, meanwhile=lambda: change(large))
    assert result.done.failures == []
    assert content(target) == content(source)


async def test_a_large_file_that_has_gone_is_named_and_the_rest_comes(
    tmp_path: Path, source: Path
) -> None:
    large, target = source / "large", tmp_path / "target"
    large.write_bytes(os.urandom(3 * MIB))
    result, _ = await copy_once(tmp_path, source, target, meanwhile=large.unlink)
    assert [failure.action.path for failure in result.done.failures] == [b"large"]
    assert content(target) == content(source)


@pytest.mark.parametrize("name", ["sub/deep/run.sh", "sub/large"])
async def test_nothing_is_read_through_a_link_that_took_a_directory_s_place(
    tmp_path: Path, source: Path, name: str
) -> None:
    """Of the source neither: what is outside stays there."""
    (source / "sub" / "large").write_bytes(bytes(2 * MIB))
    outside, target = tmp_path / "outside", tmp_path / "target"
    (outside / "deep").mkdir(parents=True)
    (outside / name.removeprefix("sub/")).write_text("secret")

    def meanwhile() -> None:
        (source / "sub").rename(tmp_path / "away")
        (source / "sub").symlink_to(outside)

    await copy_once(tmp_path, source, target, meanwhile=meanwhile)
    assert (target / "a.txt").exists()
    found = [path.read_bytes() for path in target.rglob("*") if path.is_file()]
    assert b"secret" not in found


async def test_a_file_that_is_appended_to_all_the_time_comes_whole(
    tmp_path: Path, alpha: Path, beta: Path
) -> None:
    """As a log is: with each look there is more of it."""

    class Busy(HeldRoot):
        lines = 0

        def scan(self, request: int, **wish: Any) -> Iterator[Message]:
            if self.lines < 40:
                self.lines += 1
                with (alpha / "log").open("ab") as file:
                    file.write(b"one more line\n" * 3000)
            return super().scan(request, **wish)

    async with kept_same(tmp_path, alpha, beta, holds={SyncSide.ALPHA: Busy}) as sync:
        for _ in range(50):
            await sync.flush()
        assert (sync.health.problems, sync.health.conflicts) == ({}, {})
    assert (beta / "log").read_bytes() == (alpha / "log").read_bytes()
