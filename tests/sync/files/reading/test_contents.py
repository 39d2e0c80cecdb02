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
        ((_, entry),) = held.hash(b"f")
        assert (entry.kind, entry.tail) == (Kind.PROBLEM, reading.CHANGING.encode())
    assert held.memory.dirty == {b""}
    list(held.scan(2, everywhere=False, directories=()))
    ((_, entry),) = held.hash(b"f")
    assert entry.is_file
