"""Notes of what came other than planned."""

from __future__ import annotations

from pathlib import Path

import pytest

from kled_sync.files.writing.placed_notes import PlacedNotes, check_note
from kled_sync.tree.entry import TreeEntry, make_file
from kled_wire.errors import ProtocolError

FOUND: tuple[tuple[bytes, TreeEntry], ...] = ((b"d/\xff", make_file(0o644, 1, 2, b"h" * 32)),)


def test_the_next_process_reads_it_until_it_notes_itself(tmp_path: Path) -> None:
    PlacedNotes(tmp_path / "placed").write("aa", FOUND)
    again = PlacedNotes(tmp_path / "placed")
    assert again.read("aa") == FOUND
    assert again.read("bb") == ()
    again.write("bb", FOUND)
    assert (again.read("aa"), again.read("bb")) == ((), FOUND)


def test_a_few_are_kept(tmp_path: Path) -> None:
    notes = PlacedNotes(tmp_path / "placed")
    for number in range(100):
        notes.write(f"{number}", FOUND)
    assert notes.read("99") == FOUND
    assert len(list((tmp_path / "placed").iterdir())) == 64


@pytest.mark.parametrize("kept", [0, 40, -1])
def test_one_that_was_cut_off_says_nothing(tmp_path: Path, kept: int) -> None:
    notes = PlacedNotes(tmp_path / "placed")
    notes.write("aa", FOUND)
    path = tmp_path / "placed" / "aa"
    path.write_bytes(path.read_bytes()[:kept])
    assert notes.read("aa") == ()


@pytest.mark.parametrize("name", ["../lock", "a/b", ".", "\u00e9", "a" * 33])
def test_no_other_file_can_be_named(name: str) -> None:
    assert check_note("0123456789abcdef") == "0123456789abcdef"
    with pytest.raises(ProtocolError):
        check_note(name)
