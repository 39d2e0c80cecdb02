"""Operations on real files: each is done only where what is there is what was seen."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from kled_sync.decide.operations import Do, Operation
from kled_sync.endpoint.holding import HeldRoot
from kled_sync.files.writing import kept as keeping
from kled_sync.files.writing import placing
from kled_sync.files.writing.filling import dress
from kled_sync.files.writing.refusal import Refusal
from kled_sync.tree.entry import TreeEntry, make_directory, make_file, make_link


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "root"
    (made / "d").mkdir(parents=True)
    (made / "f").write_text("before")
    (made / "d" / "g").write_text("inside")
    return made


def entry(held: HeldRoot, path: bytes) -> TreeEntry:
    seen = held.memory.get(path)
    assert seen is not None
    return seen.entry


def put(held: HeldRoot, path: bytes, text: bytes, old: TreeEntry | None) -> None:
    """As a job does it whose contents have come."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    staged = os.open("staged", flags, 0o600, dir_fd=held.context.staging)
    os.write(staged, text)
    dress(staged, 0o644, 1_600_000_000_000_000_000)
    os.close(staged)
    new = make_file(0o644, 1_600_000_000_000_000_000, len(text), b"d" * 32)
    held.context.placer.do(Operation(Do.CONTENT, path, new, old), b"staged", new)


def test_a_file_is_exchanged_with_what_was_seen(held: HeldRoot, root: Path) -> None:
    put(held, b"f", b"after", entry(held, b"f"))
    assert (root / "f").read_bytes() == b"after"
    assert entry(held, b"f").tail == b"d" * 32


@pytest.mark.parametrize("how", ["written", "replaced", "deleted", "made a directory"])
def test_what_changed_since_it_was_seen_stays(held: HeldRoot, root: Path, how: str) -> None:
    path = root / "f"
    old = entry(held, b"f")
    if how == "written":
        path.write_text("theirs")
    elif how == "replaced":
        (root / "new").write_text("theirs")
        (root / "new").replace(path)
    else:
        path.unlink()
        if how == "made a directory":
            path.mkdir()
    with pytest.raises(Refusal) as caught:
        put(held, b"f", b"after", old)
    assert caught.value.code == "changed"
    if how in {"written", "replaced"}:
        assert path.read_text() == "theirs"
    assert b"" in held.memory.dirty


def cannot_exchange(*_arguments: object) -> None:
    raise OSError(errno.ENOSYS, "no")


def test_without_exchange_a_file_is_replaced_in_steps(
    held: HeldRoot, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placing, "exchange", cannot_exchange)
    put(held, b"f", b"after", entry(held, b"f"))
    assert (root / "f").read_bytes() == b"after"
    assert held.kept is not None
    assert [v.what for v in held.kept.versions()] == ["replaced"]


@pytest.mark.parametrize("can_exchange", [True, False])
def test_a_save_in_the_very_moment_gets_its_place_back(
    held: HeldRoot, root: Path, monkeypatch: pytest.MonkeyPatch, can_exchange: bool
) -> None:
    """Somebody renames their file over ours between the look and the exchange."""
    look = placing.Placer._as_known

    def look_then_save(placer: placing.Placer, *arguments: object) -> object:
        known = look(placer, *arguments)  # type: ignore[arg-type]
        (root / "saving").write_text("theirs")
        (root / "saving").replace(root / "f")
        return known

    monkeypatch.setattr(placing.Placer, "_as_known", look_then_save)
    if not can_exchange:
        monkeypatch.setattr(placing, "exchange", cannot_exchange)
    with pytest.raises(Refusal):
        put(held, b"f", b"after", entry(held, b"f"))
    assert (root / "f").read_text() == "theirs"


def test_a_new_file_never_replaces_one(held: HeldRoot, root: Path) -> None:
    (root / "new").write_text("theirs")
    with pytest.raises(Refusal):
        put(held, b"new", b"after", None)
    assert (root / "new").read_text() == "theirs"


def test_a_removal_keeps_what_was_there(held: HeldRoot, root: Path) -> None:
    held.context.placer.do(Operation(Do.REMOVE, b"d/g", None, entry(held, b"d/g")), b"", None)
    assert not (root / "d" / "g").exists()
    assert held.kept is not None
    (version,) = held.kept.versions()
    directory, name = held.kept.place(version)
    assert os.stat(name, dir_fd=directory).st_size == len("inside")
    (root / "d" / "ignored").touch()
    gone = Operation(Do.REMOVE_DIRECTORY, b"d", None, make_directory(0o755))
    with pytest.raises(Refusal, match="not synced"):
        held.context.placer.do(gone, b"", None)
    assert (root / "d" / "ignored").exists()


def test_nothing_goes_through_a_link_that_took_a_directory_s_place(
    held: HeldRoot, root: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "g").write_text("theirs")
    old = entry(held, b"d/g")
    (root / "d" / "g").unlink()
    (root / "d").rmdir()
    (root / "d").symlink_to(outside)
    held.root.forget()
    for operation in (
        Operation(Do.REMOVE, b"d/g", None, old),
        Operation(Do.LINK, b"d/l", make_link(b"x"), None),
        Operation(Do.MAKE_DIRECTORY, b"d/n", make_directory(0o755), None),
    ):
        with pytest.raises(Refusal):
            held.context.placer.do(operation, b"", None)
    with pytest.raises(Refusal):
        put(held, b"d/g", b"evil", old)
    assert [(p.name, p.read_text()) for p in outside.iterdir()] == [("g", "theirs")]


def test_a_program_stays_one_and_gets_no_more_than_that(held: HeldRoot, root: Path) -> None:
    placer = held.context.placer
    assert placer.mode_for(0o6755, None) == 0o755
    assert placer.mode_for(0o644, 0o600) == 0o600
    assert placer.mode_for(0o755, 0o600) == 0o700
    assert placer.mode_for(0o644, 0o755) == 0o644
    # A secret stays one.
    assert placer.mode_for(0o600, None) == 0o600
    assert placer.mode_for(0o4700, None) == 0o700
    assert placer.mode_for(0o700, None, directory=True) == 0o700
    assert placer.mode_for(0o600, 0o644) == 0o644


def test_what_is_kept_is_ours_alone_and_has_an_end(
    held: HeldRoot, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = held.kept
    assert kept is not None
    for number in range(3):
        (root / "f").write_text(f"version {number}")
        held.memory.mark(b"f")
        list(held.scan(2, everywhere=False, directories=()))
        put(held, b"f", b"after", entry(held, b"f"))
    assert len(kept.versions()) == 3
    monkeypatch.setattr(type(kept), "limit", lambda _kept: 2 * len("version 0"))
    now = kept.versions()[-1].at_s
    kept.prune(now)
    assert len(kept.versions()) == 2
    kept.prune(now + 8 * 24 * 3600)
    assert kept.versions() == []
    monkeypatch.setattr(type(kept), "limit", lambda _kept: 1)
    (root / "f").write_text("too large")
    held.memory.mark(b"f")
    list(held.scan(3, everywhere=False, directories=()))
    put(held, b"f", b"after", entry(held, b"f"))
    assert kept.too_large == [b"f"]
    staging = Path(f"/proc/self/fd/{held.context.staging}").resolve()
    assert stat.S_IMODE(staging.stat().st_mode) == 0o700


@pytest.mark.parametrize("old", ["replaced", "new"])
def test_what_is_saved_right_after_is_no_news_of_ours(
    held: HeldRoot, root: Path, old: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An editor's new version, with a time of last year as `cp -p` gives it."""
    (root / "theirs").write_text("theirs")
    os.utime(root / "theirs", ns=(1, 1_700_000_000_000_000_000))
    path = b"f" if old == "replaced" else b"new"
    names = {"replaced": "exchange", "new": "rename_new"}
    through = getattr(placing, names[old])

    def and_save(*places: object) -> None:
        through(*places)
        (root / "theirs").replace(root / path.decode())

    monkeypatch.setattr(placing, names[old], and_save)
    put(held, path, b"ours!!", entry(held, b"f") if old == "replaced" else None)
    monkeypatch.undo()
    list(held.scan(2, everywhere=False, directories=(b"",)))
    if not entry(held, path).is_hashed:
        held.hash(path)
    assert entry(held, path).tail == blake3(b"theirs").digest()


def test_a_save_while_the_mode_is_set_is_found(
    held: HeldRoot, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    through = os.utime

    def save_and(*args: Any, **rest: Any) -> None:
        (root / "f").write_text("BEFORE")
        through(*args, **rest)

    old = entry(held, b"f")
    operation = Operation(Do.DRESS, b"f", old.with_mode(0o755), old)
    monkeypatch.setattr(os, "utime", save_and)
    held.context.placer.do(operation, b"", None)
    monkeypatch.undo()
    list(held.scan(2, everywhere=False, directories=(b"",)))
    assert entry(held, b"f").tail == blake3(b"BEFORE").digest()


def test_a_store_that_is_full_stops_nothing(
    held: HeldRoot, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In another filesystem than the root, so that what is to be kept is copied."""

    def no_rename(*_: object, **__: object) -> None:
        raise OSError(errno.EXDEV, "another filesystem")

    def no_room(_: int, target: int) -> None:
        os.write(target, b"bef")
        raise OSError(errno.ENOSPC, "no space")

    old = entry(held, b"f")
    monkeypatch.setattr(os, "rename", no_rename)
    monkeypatch.setattr(keeping, "copy_contents", no_room)
    put(held, b"f", b"after", old)
    monkeypatch.undo()
    assert (root / "f").read_bytes() == b"after"
    assert held.kept is not None
    assert held.kept.too_large == [b"f"]
    versions = held.kept.versions()
    assert [version.number for version in versions if version.path == b"f"] == [0]
    directory, _ = held.kept.place(versions[0])
    assert os.listdir(directory) == ["log"]  # noqa: PTH208  # a descriptor


def test_a_link_is_kept_in_another_filesystem_too(
    held: HeldRoot, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "link").symlink_to("f")
    list(held.scan(2, everywhere=True, directories=()))

    assert held.kept is not None
    monkeypatch.setattr(held.kept, "_moved", lambda *_: False)
    held.context.placer.do(Operation(Do.REMOVE, b"link", None, entry(held, b"link")), b"", None)
    assert not (root / "link").is_symlink()
    assert held.kept.too_large == []
    (version,) = [v for v in held.kept.versions() if v.path == b"link"]
    directory, name = held.kept.place(version)
    assert os.readlink(name, dir_fd=directory) == b"f"
