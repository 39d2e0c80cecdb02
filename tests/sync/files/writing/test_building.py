"""New directories that come with what is in them: whole where that can be, else piece by piece."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from blake3 import blake3

from kled_sync.decide.operations import Do, Operation
from kled_sync.endpoint.holding import HeldRoot
from kled_sync.endpoint.placing_job import PlacingJob
from kled_sync.files.root import Root
from kled_sync.files.writing import building
from kled_sync.files.writing.staging_directory import clear_staging
from kled_sync.tree.entry import make_directory, make_file
from kled_sync.wire import contents
from kled_sync.wire.filled import NewFiles
from kled_wire.errors import ProtocolError

CONTENT = b"what is in it"
MADE_NS = 1_600_000_000_000_000_000
FILE = make_file(0o644, MADE_NS, len(CONTENT), blake3(CONTENT).digest())
DIRECTORIES, NAMES, FILES = (b"new", b"new/sub"), (b"a", b"b"), (b"new/a", b"new/sub/b")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "root"
    made.mkdir()
    return made


def begin(held: HeldRoot) -> PlacingJob:
    operations = [
        Operation(
            Do.MAKE_DIRECTORY,
            path,
            make_directory(0o755),
            None,
            files=NewFiles([name], len(CONTENT)),
        )
        for path, name in zip(DIRECTORIES, NAMES, strict=True)
    ]
    return PlacingJob(1, operations, held.context, Root(held.root.path))


def feed(job: PlacingJob) -> None:
    for item in range(len(DIRECTORIES), len(DIRECTORIES) + len(FILES)):
        job.staging.feed(contents.encode_whole(item, FILE, len(CONTENT)) + CONTENT)


def finish(job: PlacingJob) -> list[tuple[object, ...]]:
    list(job.finish())
    return list(job.answer().failed)


def below(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


def staged(held: HeldRoot) -> list[str]:
    return os.listdir(held.context.staging)  # noqa: PTH208  # a descriptor


def test_a_directory_appears_with_all_that_is_in_it(
    held: HeldRoot, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = begin(held)
    feed(job)
    assert below(root) == []
    renamed = []

    def rename(from_fd: int, from_name: bytes, to_fd: int, to_name: bytes) -> None:
        renamed.append(to_name)
        os.rename(from_name, to_name, src_dir_fd=from_fd, dst_dir_fd=to_fd)

    monkeypatch.setattr(building, "rename_new", rename)
    assert finish(job) == []
    assert renamed == [b"new"]
    assert below(root) == ["new", "new/a", "new/sub", "new/sub/b"]
    found = (root / "new" / "a").stat()
    assert (found.st_mtime_ns, found.st_mode & 0o777) == (MADE_NS, 0o644)
    assert (root / "new" / "sub" / "b").read_bytes() == CONTENT
    assert staged(held) == []
    # It is known as it is: a scan finds nothing that is new.
    known = {path: held.memory.get(path) for path in (*DIRECTORIES, *FILES)}
    assert all(what is not None and what.is_sure for what in known.values())
    list(held.scan(2, everywhere=True, directories=()))
    assert {path: held.memory.get(path) for path in known} == known


def test_what_others_made_there_meanwhile_stays(held: HeldRoot, root: Path) -> None:
    job = begin(held)
    feed(job)
    (root / "new" / "sub").mkdir(parents=True)
    (root / "new" / "a").write_text("theirs")
    (root / "new" / "more").write_text("theirs")
    failed = finish(job)
    assert [(row[0], row[1]) for row in failed] == [(2, "changed")]
    assert (root / "new" / "a").read_text() == "theirs"
    assert below(root) == ["new", "new/a", "new/more", "new/sub", "new/sub/b"]
    assert staged(held) == []


def test_nothing_goes_into_what_took_the_directory_s_place(
    held: HeldRoot, root: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    job = begin(held)
    feed(job)
    (root / "new").symlink_to(outside)
    assert len(finish(job)) == 4
    assert below(outside) == []
    assert staged(held) == []


def test_a_directory_gets_what_the_one_above_hands_down(held: HeldRoot, root: Path) -> None:
    root.chmod(0o2755)
    job = begin(held)
    feed(job)
    assert finish(job) == []
    assert (root / "new" / "sub").stat().st_mode & stat.S_ISGID
    assert below(root) == ["new", "new/a", "new/sub", "new/sub/b"]
    assert staged(held) == []


def test_files_come_singly_where_nothing_is_built(
    held: HeldRoot, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building, "_NAME_BYTES_MAX", 3)
    job = begin(held)
    feed(job)
    assert finish(job) == []
    assert below(root) == ["new", "new/a", "new/sub", "new/sub/b"]
    assert (root / "new" / "sub" / "b").read_bytes() == CONTENT
    assert held.memory.get(b"new/sub/b") is not None
    assert staged(held) == []


def test_what_the_sender_gives_up_fails_alone(held: HeldRoot, root: Path) -> None:
    job = begin(held)
    job.staging.feed(contents.encode_whole(2, FILE, len(CONTENT)) + CONTENT)
    job.staging.feed(contents.encode_record(contents.FAIL, 3, b"no such file"))
    assert finish(job) == [(3, "read_failed", "no such file")]
    assert below(root) == ["new", "new/a", "new/sub"]


@pytest.mark.parametrize(
    "record",
    [
        contents.encode_whole(2, FILE, len(CONTENT)) + CONTENT,
        contents.encode_record(contents.FAIL, 2, b"again"),
        contents.encode_record(contents.AGAIN, 3, b""),
        contents.encode_record(contents.FAIL, 4, b"of no file"),
    ],
)
def test_what_no_honest_sender_says_of_them_is_refused(held: HeldRoot, record: bytes) -> None:
    job = begin(held)
    job.staging.feed(contents.encode_whole(2, FILE, len(CONTENT)) + CONTENT)
    with pytest.raises(ProtocolError, match="item"):
        job.staging.feed(record)


def test_where_the_disk_is_full_none_of_them_is_awaited(held: HeldRoot, root: Path) -> None:
    job = begin(held)
    job.refuse("the disk lacks 1 MiB")
    assert job.is_staged
    assert {row[1] for row in finish(job)} == {"no_space"}
    assert below(root) == ["new", "new/sub"]


def test_a_file_that_did_not_come_whole_is_not_in_it(
    held: HeldRoot, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = begin(held)
    full = OSError(28, "No space left on device")
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda *_: (_ for _ in ()).throw(full))
        job.staging.feed(contents.encode_whole(2, FILE, len(CONTENT)) + CONTENT)
    job.staging.feed(contents.encode_whole(3, FILE, len(CONTENT)) + CONTENT[::-1])
    assert [row[1] for row in finish(job)] == ["no_space", "damaged"]
    assert below(root) == ["new", "new/sub"]


def test_what_a_killed_run_was_building_is_removed(held: HeldRoot) -> None:
    job = begin(held)
    feed(job)
    assert staged(held) != []
    clear_staging(held.context.staging, frozenset())
    assert staged(held) == []
