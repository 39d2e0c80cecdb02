"""The ring gives back the last of what it was given, at the right offsets, and stays small."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kled_agent.sessions.holder.ring import Ring
from tests.kit.examples import examples


@given(blocks=st.lists(st.binary(max_size=120), max_size=30), capacity=st.integers(1, 200))
@settings(max_examples=examples(60))
def test_it_keeps_the_last_bytes(
    tmp_path_factory: pytest.TempPathFactory, blocks: list[bytes], capacity: int
) -> None:
    path = tmp_path_factory.mktemp("ring") / "output"
    ring = Ring(path, capacity, tail_bytes=16)
    try:
        for block in blocks:
            ring.append(block)
        all_of_it = b"".join(blocks)
        assert ring.end == len(all_of_it)
        assert ring.end - ring.start >= min(len(all_of_it), ring.capacity)
        for start in range(0, ring.end, 7):
            assert ring.slice(start, ring.end) == all_of_it[max(start, ring.start) :]
        assert path.stat().st_size <= ring.capacity
    finally:
        ring.close()


def test_a_full_disk_costs_the_history_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ring = Ring(tmp_path / "output", 100, tail_bytes=16)
    ring.append(b"a" * 90)

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    ring.append(b"b" * 10)
    assert ring.slice(0, ring.end)[-10:] == b"b" * 10
    assert ring.end == 100
    assert ring.start >= 60
    ring.close()


def test_the_file_is_private(tmp_path: Path) -> None:
    ring = Ring(tmp_path / "output", 1000)
    assert (tmp_path / "output").stat().st_mode & 0o777 == 0o600
    ring.close()
