"""Files that change while they are read."""

from __future__ import annotations

from pathlib import Path

import pytest

from kled_sync.endpoint.holding import HeldRoot
from kled_sync.files.reading import contents as reading
from kled_sync.tree.entry import Kind


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "root"
    made.mkdir()
    (made / "f").write_text("growing")
    return made


def test_what_changed_while_it_was_read_is_read_again(
    held: HeldRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long write(2) sets the times when it begins: they are the same when it has ended."""
    with monkeypatch.context() as patched:
        patched.setattr(reading, "is_same", lambda *_: False)
        list(held.hash(b"f"))
        ((_, entry),) = held.known([b"f"])
        assert (entry.kind, entry.tail) == (Kind.PROBLEM, reading.CHANGING.encode())
    assert held.memory.dirty == {b""}
    list(held.scan(2, everywhere=False, directories=()))
    list(held.hash(b"f"))
    ((_, entry),) = held.known([b"f"])
    assert entry.is_file


def test_what_a_scan_finds_while_a_file_is_read_is_not_forgotten(
    held: HeldRoot, root: Path
) -> None:
    """The scan has told of it, and nothing will tell again."""
    (root / "f").write_bytes(bytes(40_000_000))
    list(held.scan(2, everywhere=True, directories=()))
    reading = held.hash(b"f")
    next(reading)
    (root / "other").write_text("another file")
    (root / "other").replace(root / "f")
    list(held.scan(3, everywhere=True, directories=()))
    list(reading)
    ((_, entry),) = held.known([b"f"])
    assert entry.size == len("another file")
    assert held.memory.dirty == set()
