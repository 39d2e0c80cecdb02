"""Trees that break programs: links everywhere, paths that no call takes, hundreds of open files."""

from __future__ import annotations

import os
import resource
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from kled_sync.decide.modes import SyncSide
from kled_sync.files.options import Options
from kled_sync.files.writing import filling, staging
from kled_sync.files.writing.large_arrival import LargeArrival
from kled_sync.files.writing.placing import Placer
from tests.kit.endpoints import content, copy_once, kept_same
from tests.kit.small_disk import mounted

# The links of a folder, by path, and whether they stay inside it.
LINKS = {
    "in": ("a", True),
    "sub/up": ("../a", True),
    "sub/round": ("../sub/../a", True),
    "dangling": ("nowhere/at/all", True),
    "with a colon": ("c:a", True),
    "to itself": ("to itself", True),
    "dot": (".", True),
    "sub/dots": ("..", True),
    "absolute": ("/etc/passwd", False),
    "absolute and here": ("/proc/self/cwd", False),
    "out": ("../out", False),
    "sub/out": ("../../out", False),
    "sub/out and in again": ("../../alpha/a", False),
    "hidden": ("sub/../../out", False),
}


@pytest.mark.parametrize("links", ["portable", "as-is", "ignore"])
async def test_links_are_brought_over_as_the_option_says(
    tmp_path: Path, alpha: Path, beta: Path, links: str
) -> None:
    for name, (target, _) in LINKS.items():
        (alpha / name).symlink_to(target)
    options = Options(durable="none", links=links)
    async with kept_same(tmp_path, alpha, beta, options=options) as sync:
        await sync.flush()
        brought = {n: str((beta / n).readlink()) for n in LINKS if (beta / n).is_symlink()}
        told = {path.decode() for path in sync.health.problems}
    wanted = {
        "portable": {n: target for n, (target, is_inside) in LINKS.items() if is_inside},
        "as-is": {n: target for n, (target, _) in LINKS.items()},
        "ignore": {},
    }
    assert brought == wanted[links]
    assert told == ({n for n in LINKS if n not in brought} if links == "portable" else set())


def chain(root: Path, depth: int, name: str) -> Iterator[int]:
    """Descriptors of directories below each other; the last one first."""
    opened = [os.open(root, os.O_RDONLY)]
    for _ in range(depth):
        with suppress(FileExistsError):
            os.mkdir(name, dir_fd=opened[-1])
        opened.append(os.open(name, os.O_RDONLY, dir_fd=opened[-1]))
    try:
        yield from reversed(opened)
    finally:
        for descriptor in opened:
            os.close(descriptor)


async def test_a_path_that_is_longer_than_a_call_takes(
    tmp_path: Path, alpha: Path, beta: Path
) -> None:
    name, depth = "long" * 50, 40
    async with kept_same(tmp_path, alpha, beta) as sync:
        await sync.flush()
        for directory in chain(alpha, depth, name):
            out = os.open("f", os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=directory)
            os.write(out, b"deep")
            os.close(out)
        await sync.flush()
        assert sync.health.problems == {}
        found = [os.stat("f", dir_fd=directory).st_size for directory in chain(beta, depth, name)]
        assert found == [4] * (depth + 1)
        (alpha / name).rename(alpha / "short")
        await sync.flush()
        assert (beta / "short" / "f").read_text() == "deep"
        for root in (alpha, beta):
            for directory in chain(root / "short", depth - 1, name):
                for below in os.listdir(directory):  # noqa: PTH208  # a descriptor
                    if stat.S_ISDIR(os.stat(below, dir_fd=directory).st_mode):
                        os.rmdir(below, dir_fd=directory)
                    else:
                        os.unlink(below, dir_fd=directory)
        await sync.flush()
        assert not sync.health.all_conflicts()


async def test_another_filesystem_in_a_folder_is_named_and_left(
    tmp_path: Path, alpha: Path, beta: Path
) -> None:
    async with kept_same(tmp_path, alpha, beta) as sync:
        await sync.flush()
        with mounted(alpha / "sub"):
            (alpha / "sub" / "elsewhere").write_text("x")
            (alpha / "a").write_text("saved")
            await sync.sides[SyncSide.ALPHA].scan(everywhere=True)
            await sync.flush()
            assert sync.health.problems == {b"sub": "another filesystem is mounted there"}
            assert (beta / "a").read_text() == "saved"
            assert (beta / "sub" / "b").read_text() == "2"
    async with kept_same(tmp_path, alpha, beta) as sync:
        await sync.flush()
        assert (sync.health.problems, content(beta)) == ({}, content(alpha))


async def test_more_open_files_than_select_can_wait_for(tmp_path: Path, source: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2000:
        pytest.skip("needs 2000 open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2000), hard))
    others = [os.open("/dev/null", os.O_RDONLY) for _ in range(1200)]
    try:
        await copy_once(tmp_path, source, tmp_path / "target")
    finally:
        for descriptor in others:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert content(tmp_path / "target") == content(source)


async def test_what_came_damaged_is_sent_again(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small files and large: each arrives once as something else."""
    (source / "large").write_bytes(os.urandom(2 * 1024 * 1024))
    read, write, damaged = filling.read_whole, LargeArrival.write, set[bytes]()

    def read_damaged(body: memoryview) -> object:
        known = bytes(body)
        if known not in damaged:
            damaged.add(known)
            flipped = bytearray(known)
            flipped[20] ^= 1  # of the digest; a content may be empty
            return read(memoryview(flipped))
        return read(body)

    def write_damaged(self: LargeArrival, rows: list[tuple[int, bytes]], data: Any) -> None:
        if b"large" not in damaged:
            damaged.add(b"large")
            data = bytes(len(data))
        write(self, rows, data)

    for module in (filling, staging):
        monkeypatch.setattr(module, "read_whole", read_damaged)
    monkeypatch.setattr(LargeArrival, "write", write_damaged)
    result, _ = await copy_once(tmp_path, source, tmp_path / "target")
    assert result.done.failures == []
    assert content(tmp_path / "target") == content(source)
    assert len(damaged) == 5


async def test_a_staged_file_that_somebody_took_away_fails_alone(
    tmp_path: Path, alpha: Path, beta: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As tools do that clean up; the next try brings it."""
    put, taken = Placer._put, list[bytes]()

    def put_without(self: Placer, operation: object, staged: bytes, content: object) -> None:
        if not taken:
            taken.append(staged)
            os.unlink(staged, dir_fd=self._staging)
        put(self, operation, staged, content)  # type: ignore[arg-type]

    monkeypatch.setattr(Placer, "_put", put_without)
    async with kept_same(tmp_path, alpha, beta) as sync:
        await sync.flush()
        assert taken
        await sync.flush()
        assert (sync.health.problems, sync.health.lacking) == ({}, set())
    assert content(beta) == content(alpha)
