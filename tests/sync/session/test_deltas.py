"""Large files of which a part changed: the data cases of rsync engines, brought over one by one."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Final

import pytest
from blake3 import blake3

from kled_sync.endpoint.supplying import Supplier
from kled_sync.wire.blocks import OutgoingBlock, will_shrink
from tests.kit.endpoints import kept_same

# Above that a file comes in chunks.
MIB: Final = 1024 * 1024
BASE: Final = random.Random(1).randbytes(2 * MIB + 700_000)
NEW: Final = random.Random(2).randbytes(MIB)


def _swap(data: bytes) -> bytes:
    half = len(data) // 2
    return data[half:] + data[:half]


def _flip(data: bytes, *places: int) -> bytes:
    flipped = bytearray(data)
    for place in places:
        flipped[place] ^= 0xFF
    return bytes(flipped)


def _repeat(data: bytes) -> bytes:
    """Chunks that are all alike, as those that were made for a weak hash."""
    return bytes(islice(cycle(data[:3000]), 3 * MIB))


# What is in the file after the step; each begins with what the one before has left.
STEPS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "from nothing": lambda _: BASE,
    "one mutation": lambda data: _flip(data, 5),
    "two mutations": lambda data: _flip(data, MIB, len(data) - 1),
    "truncated at the edge of a block": lambda data: data[: 2 * MIB],
    "truncated inside a block": lambda data: data[: MIB + 4321],
    "appended to": lambda data: data + NEW[:777_777],
    "prepended to": lambda data: NEW[:99] + data,
    "inserted into, with more at the end": lambda data: data[:MIB] + b"x" * 5 + data[MIB:] + NEW,
    "parts in another order": _swap,
    "all different": lambda data: _flip(NEW, 0) * (len(data) // MIB),
    "a part is there twice": lambda data: data + data[: 2 * MIB],
    "one pattern": _repeat,
    "zeros": lambda _: bytes(4 * MIB),
    "a hole in the middle": lambda _: BASE[:MIB] + bytes(MIB) + BASE[MIB:],
    "below the size of chunked files": lambda data: data[: MIB - 1],
    "to nothing": lambda _: b"",
    "much of it new, from nothing again": lambda _: NEW * 3 + BASE,
}


async def test_each_change_arrives_as_it_is(tmp_path: Path, alpha: Path, beta: Path) -> None:
    data = b""
    async with kept_same(tmp_path, alpha, beta) as sync:
        (alpha / "f").write_bytes(data)
        for name, step in STEPS.items():
            data = step(data)
            (alpha / "f").write_bytes(data)
            await sync.flush()
            assert ((beta / "f").read_bytes() == data, sync.health.problems) == (True, {}), name


async def test_a_version_that_goes_before_its_parts_are_used_ends_no_sync(
    tmp_path: Path, alpha: Path, beta: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Supplier.run

    def read(self: Supplier) -> Iterator[OutgoingBlock | None]:
        (beta / "large").unlink(missing_ok=True)
        return run(self)

    (alpha / "large").write_bytes(BASE)
    async with kept_same(tmp_path, alpha, beta) as sync:
        await sync.flush()
        monkeypatch.setattr(Supplier, "run", read)
        (alpha / "large").write_bytes(BASE + NEW)
        await sync.flush()
        monkeypatch.setattr(Supplier, "run", run)
        await sync.flush()
        assert (sync.health.conflicts, sync.health.problems) == ({}, {})
    assert (beta / "large").read_bytes() == BASE + NEW


async def test_one_that_got_short_while_it_was_sent_is_no_version_to_refer_to(
    tmp_path: Path, alpha: Path, beta: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = alpha / "large"

    def look(sample: bytes) -> bool:
        monkeypatch.setattr("kled_sync.endpoint.supplying.will_shrink", will_shrink)
        os.truncate(large, MIB // 2)
        return will_shrink(sample)

    async with kept_same(tmp_path, alpha, beta) as sync:
        await sync.flush()
        monkeypatch.setattr("kled_sync.endpoint.supplying.will_shrink", look)
        large.write_bytes(BASE)
        await sync.flush()
        assert (beta / "large").read_bytes() == BASE[: MIB // 2]
        large.write_bytes(BASE)
        await sync.flush()
        assert (beta / "large").read_bytes() == BASE
        assert sync.transfer._without_base == set()
        lists = {path.name for path in (tmp_path / "state").rglob("chunks/*")}
        assert lists == {blake3(BASE).hexdigest()}
