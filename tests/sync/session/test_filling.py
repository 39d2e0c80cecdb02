"""New directories with many files, from end to end: each comes as one part of a job."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from kled_sync.decide import operations
from kled_sync.decide.modes import SyncSide
from kled_sync.files.options import Options
from kled_sync.session.kept import undo
from kled_sync.session.transfers.transfer import SyncMeter
from tests.kit.endpoints import content, copy_once, kept_same

NAMES = [f"f{number}" for number in range(40)]
OLD_NS = 1_600_000_000_000_000_000


@pytest.fixture(autouse=True)
def _few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "_NEWEST_FIRST", 30)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = tmp_path / "source"
    fill(root / "new")
    fill(root / "new" / "sub")
    (root / "new" / "link").symlink_to("f1")
    (root / "new" / "large").write_bytes(os.urandom(600_000))
    return root


def fill(directory: Path) -> None:
    directory.mkdir(parents=True)
    for name in NAMES:
        (directory / name).write_text(f"{directory.name} {name}")
        os.utime(directory / name, ns=(OLD_NS, OLD_NS))


async def test_modes_times_links_and_counts_are_those_of_single_files(
    tmp_path: Path, source: Path
) -> None:
    (source / "new" / "f3").chmod(0o751)
    target = tmp_path / "target"
    meter = SyncMeter()
    result, _ = await copy_once(tmp_path, source, target, meter=meter)
    assert content(target) == content(source)
    found = (target / "new" / "f3").stat()
    assert (found.st_mode & 0o7777, found.st_mtime_ns) == (0o751, OLD_NS)
    assert (target / "new").stat().st_mtime_ns == (source / "new").stat().st_mtime_ns
    assert (result.files, result.changes, result.done.failures) == (81, 85, [])
    files = [path for path in source.rglob("*") if path.is_file() and not path.is_symlink()]
    assert (meter.files_done, meter.files) == (82, 82)  # the link too
    assert result.done.content_bytes == sum(path.stat().st_size for path in files)


async def test_what_changed_since_it_was_seen_comes_as_it_is_or_fails_alone(
    tmp_path: Path, source: Path
) -> None:
    new = source / "new"

    def meanwhile() -> None:
        (new / "f1").unlink()
        (new / "f2").write_text("saved again")
        (new / "f3").write_bytes(bytes(2 * 1024 * 1024))
        (new / "f4").unlink()
        os.mkfifo(new / "f4")
        (new / "sub" / "f5").unlink()
        (new / "sub" / "f5").symlink_to("f6")

    target = tmp_path / "target"
    result, _ = await copy_once(tmp_path, source, target, meanwhile=meanwhile)
    assert content(target) == content(source)
    assert {f.action.path for f in result.done.failures} == {b"new/f1", b"new/f4"}


async def test_what_is_there_already_stays_and_the_rest_comes(tmp_path: Path, source: Path) -> None:
    target = tmp_path / "target"

    def meanwhile() -> None:
        (target / "new").mkdir(parents=True)
        (target / "new" / "f1").write_text("theirs")

    result, _ = await copy_once(tmp_path, source, target, meanwhile=meanwhile, delete=True)
    assert content(target) == content(source)
    assert [f for f in result.done.failures if f.action.path != b"new/f1"] == []


async def test_a_file_that_goes_while_it_is_brought_over_goes_there_too(
    tmp_path: Path, source: Path
) -> None:
    target = tmp_path / "target"
    async with kept_same(tmp_path, source, target) as sync:
        await sync.flush()
        fill(source / "more" / "deep")
        await sync.flush()
        assert content(target) == content(source)
        trees = [sync.agreement.tree, *(state.tree for state in sync.sides.values())]
        packed = {id(tree.directories.packed(b"more/deep")) for tree in trees}
        assert len(packed) == 1
        fill(target / "back")
        for path in (source / "more" / "deep" / "f1", target / "more" / "deep" / "f2"):
            path.unlink()
        await sync.flush()
        assert content(target) == content(source)
        assert not (target / "more" / "deep" / "f1").exists()
        assert (source / "back" / "f39").exists()
    async with kept_same(tmp_path, source, target) as sync:
        (target / "back" / "f1").unlink()
        await sync.flush()
        assert not (source / "back" / "f1").exists()


async def test_ignored_files_do_not_come_and_undo_takes_the_directory_away(
    tmp_path: Path, source: Path
) -> None:
    (source / ".gitignore").write_text("f7\n")
    target = tmp_path / "target"
    async with kept_same(tmp_path, source, target, options=Options()) as sync:
        await sync.flush()
        assert not list(target.rglob("f7"))
        assert len(list(target.rglob("f*"))) == 2 * (len(NAMES) - 1)
        await undo(sync.sides[SyncSide.BETA], b"new/sub", since_s=time.time() - 600, purge=False)
        await sync.flush()
        assert not (target / "new" / "sub" / "f1").exists()


async def test_an_endpoint_that_does_not_know_of_it_gets_single_files(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kled_sync.session.transfers.transfer.FILLS", "unknown")
    target = tmp_path / "target"
    result, _ = await copy_once(tmp_path, source, target)
    assert content(target) == content(source)
    assert result.files == 81
