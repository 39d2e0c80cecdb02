"""A real directory is renamed with all in it only where all in it is what was seen."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from blake3 import blake3

from kled_sync.decide.operations import Do, Operation
from kled_sync.endpoint.holding import HeldRoot
from kled_sync.endpoint.placing_job import parse_operation
from kled_sync.endpoint.undoing import ask_kept, undo
from kled_sync.files import system
from kled_sync.files.writing import moving
from kled_sync.files.writing.filling import dress
from kled_sync.files.writing.refusal import Refusal
from kled_sync.tree.entry import make_directory, make_file
from kled_sync.wire.messages import AskKept, PathList, Undo
from kled_wire.errors import ConflictError, ProtocolError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "root"
    (made / "d" / "e").mkdir(parents=True)
    (made / "d" / "f").write_text("1")
    (made / "d" / "e" / "g").write_text("2")
    return made


def move(held: HeldRoot) -> None:
    """As the session asks for it that has seen what is there now."""
    digest = held.memory.content_below(b"d")
    assert digest is not None
    new = make_directory(0o755)
    operation = Operation(Do.MOVE, b"m", new, new.with_digest(digest), b"d")
    held.context.placer.do(operation, b"", None)


def test_it_is_one_rename_and_one_version(held: HeldRoot, root: Path) -> None:
    inode = (root / "d" / "e" / "g").stat().st_ino
    move(held)
    assert (root / "m" / "e" / "g").stat().st_ino == inode
    assert not (root / "d").exists()
    assert list(held.memory.below(b"m")) == [b"m", b"m/e"]
    assert held.memory.get(b"d") is None
    assert held.memory.dirty == {b""}  # it was looked at when it was watched
    assert ask_kept(held, AskKept(request=1, path=b"d")).versions[0][3:] == (
        "moved", 0, b"d",
    )  # fmt: skip
    list(held.scan(2, everywhere=True, directories=()))
    assert held.memory.content_below(b"m") is not None


def one_more(root: Path) -> None:
    (root / "d" / "e" / "new").write_text("theirs")


def save(root: Path) -> None:
    (root / "d" / "e" / "g").write_text("theirs")


def delete(root: Path) -> None:
    (root / "d" / "f").unlink()


def link(root: Path) -> None:
    (root / "d" / "e").rename(root / "aside")
    (root / "d" / "e").symlink_to(root / "aside")


def occupy(root: Path) -> None:
    (root / "m").mkdir()


@pytest.mark.parametrize("change", [one_more, save, delete, link, occupy])
@pytest.mark.parametrize("when", ["before", "in the very moment"])
def test_what_changed_since_it_was_seen_keeps_its_place(
    held: HeldRoot, root: Path, monkeypatch: pytest.MonkeyPatch, change: object, when: str
) -> None:
    assert callable(change)
    rename = system.rename_new
    pending = [change]

    def change_then_rename(*arguments: object) -> None:
        if pending:
            pending.pop()(root)
        rename(*arguments)  # type: ignore[arg-type]

    if when == "before":
        pending.pop()(root)
    monkeypatch.setattr(moving, "rename_new", change_then_rename)
    with pytest.raises(Refusal):
        move(held)
    assert (root / "d").exists()
    assert not list(root.glob("m/*"))
    assert {b"", b"d", b"d/e"} <= held.memory.dirty
    assert held.kept is not None
    assert held.kept.versions() == []


def test_a_save_before_it_is_watched_under_its_new_name_is_found(
    held: HeldRoot, root: Path
) -> None:
    watched: list[bytes] = []

    def watch(path: bytes, _directory: int) -> None:
        watched.append(path)
        if path == b"m/e":
            (root / "m" / "f").write_text("theirs")

    held.context.placer.watch = watch
    with pytest.raises(Refusal):
        move(held)
    assert (root / "d" / "f").read_text() == "theirs"
    assert watched == [b"m", b"m/e", b"d", b"d/e"]
    assert {b"", b"d", b"d/e"} <= held.memory.dirty


def test_a_move_that_is_undone_can_be_undone(held: HeldRoot, root: Path) -> None:
    move(held)
    (root / "m" / "more").write_text("3")
    list(held.scan(2, everywhere=True, directories=()))
    list(held.hash(b"m/more"))

    def back(path: bytes) -> set[bytes]:
        return set(
            undo(
                held, Undo(request=1, path=path, since_s=0.0, purge=False, spared=PathList())
            ).paths
        )

    assert back(b"d") == {b"d", b"m"}
    assert (root / "d" / "more").read_text() == "3"
    assert back(b"m") == {b"d", b"m"}
    assert (root / "m" / "e" / "g").read_text() == "2"
    (root / "d").mkdir()
    with pytest.raises(ConflictError):
        back(b"d")


def test_a_time_is_gone_back_to_through_moves(held: HeldRoot, root: Path) -> None:
    """What was done before the move is undone under the old name, what after it under the new."""

    def remove(path: bytes) -> None:
        seen = held.memory.get(path)
        assert seen is not None
        held.context.placer.do(Operation(Do.REMOVE, path, None, seen.entry), b"", None)

    remove(b"d/f")
    move(held)
    remove(b"m/e/g")
    undo(held, Undo(request=1, path=b"", since_s=1.0, purge=False, spared=PathList()))
    assert {p.name: p.read_text() for p in root.rglob("*") if p.is_file()} == {"f": "1", "g": "2"}
    assert (root / "d" / "e" / "g").exists()
    assert not (root / "m").exists()


def save_over(held: HeldRoot, root: Path, path: bytes, text: str) -> None:
    """As a job of the session does it."""
    staged = b"test"
    descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=held.context.staging)
    os.write(descriptor, text.encode())
    dress(descriptor, 0o644, 0)
    os.close(descriptor)
    seen = held.memory.get(path)
    assert seen is not None
    new = make_file(0o644, 0, len(text), blake3(text.encode()).digest())
    held.context.placer.do(Operation(Do.CONTENT, path, new, seen.entry), staged, new)


def bring_back(held: HeldRoot, path: bytes, *, since_s: float = 0.0) -> set[bytes]:
    asked = Undo(request=1, path=path, since_s=since_s, purge=False, spared=PathList())
    found = undo(held, asked).paths
    list(held.scan(2, everywhere=True, directories=()))
    return set(found)


def history(held: HeldRoot, path: bytes) -> list[tuple[str, bytes]]:
    """What became of it, and of which of its names, newest first."""
    rows = ask_kept(held, AskKept(request=1, path=path)).versions
    return [(row[3], row[2]) for row in rows]


def test_one_file_has_moved_with_its_directory(held: HeldRoot, root: Path) -> None:
    """Its own versions are found by its present name, whatever it was called then."""
    save_over(held, root, b"d/e/g", "3")
    move(held)
    save_over(held, root, b"m/e/g", "4")
    assert history(held, b"m/e/g") == [
        ("replaced", b"m/e/g"), ("moved", b"m/e/g"), ("replaced", b"d/e/g"),
    ]  # fmt: skip
    assert history(held, b"d/e/g") == [("moved", b"m/e/g"), ("replaced", b"d/e/g")]
    assert history(held, b"m/f") == [("moved", b"m/f")]
    assert history(held, b"m/e") == [
        ("replaced", b"m/e/g"), ("moved", b"m/e"), ("replaced", b"d/e/g"),
    ]  # fmt: skip
    assert history(held, b"other") == []


@pytest.mark.parametrize("name", [b"m/e/g", b"d/e/g"])
def test_the_move_of_one_file_is_undone_by_either_name(
    held: HeldRoot, root: Path, name: bytes
) -> None:
    move(held)
    assert bring_back(held, name) == {b"m/e/g", b"d/e/g"}
    assert (root / "d" / "e" / "g").read_text() == "2"
    assert {p.name for p in root.rglob("*") if p.is_file()} == {"f", "g"}
    assert (root / "m" / "f").read_text() == "1"
    assert bring_back(held, name) == {b"m/e/g", b"d/e/g"}
    assert (root / "m" / "e" / "g").read_text() == "2"


def test_one_file_goes_back_to_a_time_before_its_directory_moved(
    held: HeldRoot, root: Path
) -> None:
    save_over(held, root, b"d/e/g", "3")
    move(held)
    save_over(held, root, b"m/e/g", "4")
    bring_back(held, b"m/e/g", since_s=1.0)
    assert (root / "d" / "e" / "g").read_text() == "2"
    assert not (root / "m" / "e" / "g").exists()


def test_a_place_that_was_taken_meanwhile_is_left_alone(held: HeldRoot, root: Path) -> None:
    move(held)
    (root / "d").mkdir()
    (root / "d" / "f").write_text("theirs")
    with pytest.raises(ConflictError):
        bring_back(held, b"m/f")
    assert (root / "d" / "f").read_text() == "theirs"
    assert (root / "m" / "f").read_text() == "1"


def test_a_purge_finds_what_was_kept_under_an_earlier_name(held: HeldRoot, root: Path) -> None:
    save_over(held, root, b"d/e/g", "3")
    save_over(held, root, b"d/f", "5")
    move(held)
    purge = Undo(request=1, path=b"m/e/g", since_s=0.0, purge=True, spared=PathList())
    assert undo(held, purge).paths == (b"d/e/g",)
    assert history(held, b"m/e/g") == [("moved", b"m/e/g")]
    assert history(held, b"m/f")[-1] == ("replaced", b"d/f")


@pytest.mark.parametrize(
    ("path", "source", "new", "old"),
    [
        (b"m", b"", make_directory(0), make_directory(0)),
        (b"", b"d", make_directory(0), make_directory(0)),
        (b"d/m", b"d", make_directory(0), make_directory(0)),
        (b"d", b"d/m", make_directory(0), make_directory(0)),
        (b"d", b"d", make_directory(0), make_directory(0)),
        (b"m", b"d", make_directory(0), None),
        (b"m", b"d", make_file(0, 0, 0), make_directory(0)),
    ],
)
def test_a_move_that_cannot_be_is_refused(
    path: bytes, source: bytes, new: object, old: object
) -> None:
    with pytest.raises(ProtocolError):
        parse_operation((int(Do.MOVE), path, new, old, source))
