"""Large files that are written to while they are sent."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from blake3 import blake3

from kled_sync.endpoint.holding import HeldRoot
from kled_sync.endpoint.supplying import Item, Supplier
from kled_sync.tree.entry import TreeEntry
from kled_sync.wire.compression import CompressionWorth

SIZE = 3 * 1024 * 1024


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "root"
    made.mkdir()
    (made / "f").write_bytes(os.urandom(SIZE))
    return made


def send(held: HeldRoot, change: Callable[[int], None]) -> TreeEntry:
    """What was sent; `change` is called after each block, with its number."""
    supplier = Supplier(held, 1, [Item(0, b"f", b"", 0, b"")], CompressionWorth(), streams=False)
    for number, _ in enumerate(supplier.run()):
        change(number)
    return supplier.sent[0]


def test_what_was_there_is_sent_of_a_file_that_grows(held: HeldRoot, root: Path) -> None:
    def grow(_: int) -> None:
        with (root / "f").open("ab") as file:
            file.write(b"x" * 1000)

    entry = send(held, grow)
    assert SIZE < entry.size < (root / "f").stat().st_size
    assert entry.tail == blake3((root / "f").read_bytes()[: entry.size]).digest()
    # The next look finds the rest.
    assert held.memory.dirty == {b""}


def test_what_is_changed_and_grows_is_sent_again(held: HeldRoot, root: Path) -> None:
    def change(number: int) -> None:
        if number == 1:
            with (root / "f").open("r+b") as file:
                file.write(b"other")
                file.seek(0, os.SEEK_END)
                file.write(b"more")

    entry = send(held, change)
    assert entry.size == SIZE + 4
    assert entry.tail == blake3((root / "f").read_bytes()).digest()
