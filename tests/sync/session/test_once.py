"""A copy from end to end: two endpoints on pipes, real files, rsync's meanings."""

from __future__ import annotations

import os
import random
import re
import stat
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trio

from kled_sync.decide.modes import SyncSide
from kled_sync.endpoint.supplying import Supplier
from kled_sync.files.options import Options
from kled_sync.files.places import root_key
from kled_sync.files.reading.scanning import Scanner
from kled_sync.session.once import Plan
from kled_sync.session.sides.side import SideState
from kled_sync.session.transfers.transfer import SyncMeter
from kled_sync.tree.tree import Tree
from kled_sync.wire.blocks import OutgoingBlock
from kled_wire.errors import ConflictError, KledError, NotFoundError
from tests.kit.endpoints import content, copy_once, two_peers
from tests.kit.small_disk import mounted
from tests.kit.unreadable import unreadable

MIB = 1024 * 1024


def bytes_of(count: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(count)


async def test_a_copy_is_the_same_in_content_modes_times_and_links(
    tmp_path: Path, source: Path
) -> None:
    (source / "big").write_bytes(bytes_of(3 * MIB))
    os.utime(source / "a.txt", ns=(1_600_000_000_123_456_789, 1_600_000_000_123_456_789))
    target = tmp_path / "there" / "target"
    result, _ = await copy_once(tmp_path, source, target)
    assert result.done.failures == []
    assert content(target) == content(source)
    for name in ("a.txt", "sub/deep/run.sh", "big"):
        before, after = (source / name).stat(), (target / name).stat()
        assert (before.st_mtime_ns, before.st_mode) == (after.st_mtime_ns, after.st_mode)
    assert {p.name for p in target.parent.iterdir()} == {"target", ".kled-sync"}
    assert not [
        p
        for p in (target.parent / ".kled-sync").rglob("*")
        if p.is_file() and p.name != ".gitignore"
    ]


async def test_a_time_that_no_entry_can_have_becomes_the_nearest(
    tmp_path: Path, source: Path
) -> None:
    """Filesystems know years after 2262, which are too much for 64 bits of nanoseconds."""
    target, seconds = tmp_path / "target", 13_000_000_000
    for path in (source / "a.txt", source / "link", source / "sub"):
        os.utime(path, (seconds, seconds), follow_symlinks=False)
    for text in ("hello", "once more"):  # what has such a time is also replaced
        (source / "a.txt").write_text(text)
        os.utime(source / "a.txt", (seconds, seconds))
        result, _ = await copy_once(tmp_path, source, target)
        assert result.done.failures == []
        os.utime(target / "a.txt", (seconds, seconds))
    assert content(target) == content(source)


async def test_what_is_there_already_is_neither_read_nor_sent(tmp_path: Path, source: Path) -> None:
    target = tmp_path / "target"
    await copy_once(tmp_path, source, target)
    plans: list[Plan] = []
    _, peers = await copy_once(tmp_path, source, target, plans=plans)
    assert plans[0].actions == []
    assert peers[SyncSide.BETA].sent_bytes < 1000


async def test_an_insert_in_a_large_file_sends_about_what_was_inserted(
    tmp_path: Path, source: Path
) -> None:
    data = bytes_of(8 * MIB)
    (source / "big").write_bytes(data)
    target = tmp_path / "target"
    await copy_once(tmp_path, source, target)
    (source / "big").write_bytes(data[: 4 * MIB] + b"inserted" * 512 + data[4 * MIB :])
    _, peers = await copy_once(tmp_path, source, target)
    assert (target / "big").read_bytes() == (source / "big").read_bytes()
    assert peers[SyncSide.BETA].sent_bytes < 200_000
    # What arrived is known chunk by chunk there too: the way back costs as little.
    (target / "big").write_bytes(data)
    _, peers = await copy_once(tmp_path, target, source)
    assert (source / "big").read_bytes() == data
    assert peers[SyncSide.BETA].sent_bytes < 400_000


async def test_what_is_there_is_referred_to_while_the_rest_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = tmp_path / "big", tmp_path / "target"
    source.write_bytes(bytes_of(16 * MIB))
    await copy_once(tmp_path, source, target)
    source.write_bytes(b"inserted" + source.read_bytes())
    sizes: list[int] = []
    monkeypatch.setattr(SyncMeter, "moved", lambda _, size: sizes.append(size))
    await copy_once(tmp_path, source, target)
    assert target.read_bytes() == source.read_bytes()
    assert len(sizes) > 3  # blocks: of the new chunk, and each of a few references


async def test_a_renamed_directory_moves_no_data(tmp_path: Path, source: Path) -> None:
    (source / "many").mkdir()
    for number in range(50):
        (source / "many" / str(number)).write_bytes(bytes_of(10_000, number))
    target = tmp_path / "target"
    await copy_once(tmp_path, source, target)
    (source / "many").rename(source / "moved")
    _, peers = await copy_once(tmp_path, source, target, delete=True)
    assert content(target) == content(source)
    assert peers[SyncSide.BETA].sent_bytes < 50_000


async def test_without_delete_what_else_is_there_stays(tmp_path: Path, source: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (target / "mine").write_text("stays")
    await copy_once(tmp_path, source, target)
    assert (target / "mine").read_text() == "stays"
    await copy_once(tmp_path, source, target, delete=True)
    assert content(target) == content(source)


async def test_without_delete_only_what_is_in_the_source_is_looked_at(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The destination may be a home directory with a million other files."""
    target = tmp_path / "target"
    for path in ("other/inner", "sub/more"):
        (target / path).mkdir(parents=True)
        (target / path / "file").write_text("stays")
    await copy_once(tmp_path, source, target, delete=False)
    entered = []
    enter = Scanner._enter

    def note(self: Scanner, above: int, name: bytes, path: bytes, *rest: Any, **also: Any) -> None:
        entered.append(path)
        enter(self, above, name, path, *rest, **also)

    monkeypatch.setattr(Scanner, "_enter", note)
    result, _ = await copy_once(tmp_path, source, target)
    assert result.changes == 0
    assert not any(path.startswith(b"other") for path in entered)
    assert b"sub/more" in entered
    entered.clear()
    (tmp_path / "empty").mkdir()
    await copy_once(tmp_path, tmp_path / "empty", target)
    assert set(entered) == {b""}
    entered.clear()
    await copy_once(tmp_path, source, target, delete=True)
    assert b"other/inner" in entered
    assert content(target) == content(source)


async def test_a_single_file_is_copied_under_its_new_name(tmp_path: Path, source: Path) -> None:
    await copy_once(tmp_path, source / "a.txt", tmp_path / "b.txt")
    assert (tmp_path / "b.txt").read_text() == "hello"


async def test_delete_refuses_a_source_that_is_missing_or_empty(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (target / "mine").write_text("stays")
    with pytest.RaisesGroup(pytest.RaisesExc(NotFoundError), flatten_subgroups=True):
        await copy_once(tmp_path, tmp_path / "nowhere", tmp_path / "far" / "new", delete=True)
    assert not (tmp_path / "far").exists()
    (tmp_path / "empty").mkdir()
    with pytest.RaisesGroup(
        pytest.RaisesExc(KledError, match="would be deleted"), flatten_subgroups=True
    ):
        await copy_once(tmp_path, tmp_path / "empty", target, delete=True)
    assert (target / "mine").read_text() == "stays"


async def test_delete_refuses_a_source_of_which_a_part_cannot_be_read(
    tmp_path: Path, source: Path
) -> None:
    target = tmp_path / "target"
    await copy_once(tmp_path, source, target)
    (source / "sub" / "b").unlink()
    (source / "a.txt").write_text("newer")
    (source / "a.txt").chmod(0)
    with unreadable(source / "a.txt"):
        with pytest.RaisesGroup(
            pytest.RaisesExc(KledError, match=r"a\.txt: .*; nothing is deleted while part of"),
            flatten_subgroups=True,
        ):
            await copy_once(tmp_path, source, target, delete=True)
        assert (target / "sub" / "b").exists()
        result, _ = await copy_once(tmp_path, source, target)
        failed = [s.path for s in result.skipped if s.is_problem]
        assert failed + [f.action.path for f in result.done.failures] == [b"a.txt"]
    assert (target / "a.txt").read_text() == "hello"


async def test_what_was_replaced_and_deleted_is_kept(tmp_path: Path, source: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (target / "a.txt").write_text("before")
    (target / "old").write_text("deleted")
    await copy_once(tmp_path, source, target, delete=True)
    kept = tmp_path / "state/kled/sync/roots" / root_key(os.fsencode(target)) / "kept"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o700
    assert {p.read_text() for p in kept.iterdir() if p.name != "log"} == {"before", "deleted"}


async def test_a_dry_run_changes_nothing(tmp_path: Path, source: Path) -> None:
    plans: list[Plan] = []
    await copy_once(tmp_path, source, tmp_path / "target", plans=plans, yes=False)
    assert len(plans[0].actions) == 9
    assert not (tmp_path / "target").exists()


async def test_a_root_is_held_by_one_sync_at_a_time(tmp_path: Path, source: Path) -> None:
    async with two_peers(tmp_path) as peers:
        side = SideState(peers[SyncSide.BETA], Tree())
        await side.open(os.fsencode(tmp_path / "target"), Options())
        with pytest.RaisesGroup(
            pytest.RaisesExc(ConflictError, match="another sync has"), flatten_subgroups=True
        ):
            await copy_once(tmp_path, source, tmp_path / "target")


async def test_git_s_programs_are_not_brought_to_this_machine(tmp_path: Path, source: Path) -> None:
    (source / ".git" / "hooks").mkdir(parents=True)
    (source / ".git" / "hooks" / "post-checkout").write_text("evil")
    (source / ".git" / "HEAD").write_text("ref: refs/heads/main")
    (source / ".git" / "config").write_text("[core]\n fsmonitor = evil")
    (source / "sub" / ".git").write_text("gitdir: ../evil")
    result, _ = await copy_once(tmp_path, source, tmp_path / "target", here=SyncSide.BETA)
    found = content(tmp_path / "target")
    assert ".git/HEAD" in found
    assert {s.path for s in result.skipped} == {b".git/hooks", b".git/config", b"sub/.git"}
    assert not {".git/hooks", ".git/config", "sub/.git"} & set(found)


@pytest.mark.parametrize("is_damaged", [False, True])
async def test_a_transfer_that_was_cut_off_goes_on_where_it_was(
    tmp_path: Path, source: Path, is_damaged: bool
) -> None:
    """Unless what is staged is no longer what came."""
    size = 24 * 1024 * 1024
    (source / "big").write_bytes(os.urandom(size))
    staged = tmp_path / ".kled-sync"
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(copy_once, tmp_path, source, tmp_path / "target")
            while not any(p.stat().st_size > size // 3 for p in staged.rglob("part-*")):
                await trio.sleep(0.001)
            scope.cancel()
    assert not (tmp_path / "target" / "big").exists()
    part = max(staged.rglob("part-*"), key=lambda path: path.stat().st_size)
    had = part.stat().st_size
    if is_damaged:
        with part.open("r+b") as file:
            file.seek(had // 2)
            file.write(b"damaged")
    _, peers = await copy_once(tmp_path, source, tmp_path / "target")
    assert content(tmp_path / "target") == content(source)
    sent = peers[SyncSide.BETA].sent_bytes
    assert sent > size if is_damaged else sent < size - had + 2 * 1024 * 1024
    assert not list(staged.rglob("part-*"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A filesystem of 40 MiB."""
    with mounted(tmp_path / "disk", 40) as place:
        yield place


async def test_a_disk_that_others_fill_meanwhile_fails_that_file_alone(
    tmp_path: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is still on its way of it is nobody's mistake."""
    run, filler = Supplier.run, small_disk / "filler"

    def read(self: Supplier) -> Iterator[OutgoingBlock | None]:
        for number, block in enumerate(run(self)):
            yield block
            if number == 20:  # more than the pipes take: the receiver has begun
                with suppress(OSError), filler.open("wb") as file:
                    while True:
                        file.write(bytes(64 * 1024))

    source, target = tmp_path / "source", small_disk / "target"
    source.mkdir()
    target.mkdir()
    (source / "big").write_bytes(os.urandom(24 * 1024 * 1024))
    monkeypatch.setattr(Supplier, "run", read)
    result, _ = await copy_once(tmp_path, source, target)
    (failure,) = result.done.failures
    assert (failure.code, failure.action.path) == ("no_space", b"big")
    filler.unlink()
    monkeypatch.setattr(Supplier, "run", run)
    result, _ = await copy_once(tmp_path, source, target)
    assert result.done.failures == []
    assert content(target) == content(source)


async def test_a_destination_is_filled_then_says_how_much_is_missing_and_is_tried_again(
    tmp_path: Path, small_disk: Path
) -> None:
    source, target = tmp_path / "source", small_disk / "target"
    source.mkdir()
    target.mkdir()
    (source / "big").write_bytes(os.urandom(37 * 1024 * 1024))
    result, _ = await copy_once(tmp_path, source, target)
    assert result.done.failures == []
    (target / "big").write_text("before")
    (source / "big").write_bytes(os.urandom(48 * 1024 * 1024))
    result, _ = await copy_once(tmp_path, source, target)
    (failure,) = result.done.failures
    assert (failure.code, failure.action.path) == ("no_space", b"big")
    assert re.fullmatch(r"the disk lacks 1[01] MiB", failure.words)
    assert (target / "big").read_text() == "before"
    subprocess.run(["mount", "-o", "remount,size=100m", str(small_disk)], check=True)
    result, _ = await copy_once(tmp_path, source, target)
    assert result.done.failures == []
    assert content(target) == content(source)


async def test_directories_keep_their_times_as_with_rsync(tmp_path: Path, source: Path) -> None:
    def times(root: Path) -> dict[str, int]:
        below = [root, *(p for p in root.rglob("*") if p.is_dir())]
        return {str(p.relative_to(root)): p.stat().st_mtime_ns for p in below}

    for number, path in enumerate([source / "sub" / "deep", source / "sub", source]):
        os.utime(path, ns=(10**18 + number, 10**18 + number))
    target = tmp_path / "target"
    await copy_once(tmp_path, source, target)
    assert times(target) == times(source)
    # Written in place: the directory here does not change by that, the one there must not either.
    (source / "sub" / "b").write_text("more")
    os.utime(source / "empty", ns=(10**18, 10**18))
    plans: list[Plan] = []
    result, _ = await copy_once(tmp_path, source, target, plans=plans)
    assert {a.path for a in plans[0].actions} == {b"sub/b", b"empty"}
    assert result.done.failures == []
    assert times(target) == times(source)
    await copy_once(tmp_path, source, target, plans=plans)
    assert plans[1].actions == []


async def test_holes_stay_holes_where_a_file_comes_and_where_it_is_renamed(
    tmp_path: Path, source: Path
) -> None:
    with (source / "disk").open("wb") as out:
        out.seek(8 * MIB)
        out.write(bytes_of(100_000))
        out.truncate(32 * MIB)
    target = tmp_path / "target"
    for name in ("disk", "renamed"):
        if name == "renamed":
            (source / "disk").rename(source / name)
        await copy_once(tmp_path, source, target, delete=True)
        assert (target / name).read_bytes() == (source / name).read_bytes()
        assert (target / name).stat().st_blocks * 512 < MIB


async def test_a_source_is_only_read(tmp_path: Path, small_disk: Path) -> None:
    source, target = small_disk / "source", tmp_path / "target"
    source.mkdir()
    (source / "a").write_text("a")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    result, _ = await copy_once(tmp_path, source, target)
    assert result.done.failures == []
    assert content(target) == content(source)
    with pytest.raises(BaseExceptionGroup) as caught:
        await copy_once(tmp_path, tmp_path / "none" / "source", target)
    assert caught.group_contains(NotFoundError)
    assert not (tmp_path / "none").exists()
