"""Chunks of a large file, cut anew or where the version before was cut."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from kled_sync.files.reading.chunk_store import ChunkList, KnownChunks
from kled_sync.files.reading.chunking import chunks_of

Rows = list[tuple[int, bytes]]
_BEFORE = random.Random(1).randbytes(1_300_000)


def _rows(path: Path, data: bytes, known: KnownChunks | None = None) -> Rows:
    path.write_bytes(data)
    whole, found, at = blake3(), [], 0
    descriptor = os.open(path, os.O_RDONLY)
    try:
        for chunks in chunks_of(descriptor, len(data), whole, known):
            for chunk in chunks:
                assert (chunk.offset, bytes(chunk.data)) == (at, data[at : at + chunk.length])
                found.append((chunk.length, chunk.hash))
                at += chunk.length
    finally:
        os.close(descriptor)
    assert (at, whole.digest()) == (len(data), blake3(data).digest())
    return found


def _known(rows: Rows) -> KnownChunks:
    chunks = ChunkList()
    for row in rows:
        chunks.add(*row)
    return KnownChunks(chunks)


_edits = st.lists(
    st.tuples(st.integers(0, len(_BEFORE)), st.integers(0, 60_000), st.integers(0, 60_000)),
    max_size=4,
)


@given(_edits)
def test_what_is_known_is_cut_as_it_would_be_anew(
    tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[int, int, int]]
) -> None:
    """An edit: where, how many bytes go, and how many come."""
    path = tmp_path_factory.mktemp("chunks") / "file"
    data = _BEFORE
    for at, gone, come in edits:
        data = data[:at] + random.Random(at).randbytes(come) + data[at + gone :]
    known = _known(_rows(path, _BEFORE))
    assert _rows(path, data, known) == _rows(path, data)


def test_a_file_that_is_appended_to_has_no_pieces_of_the_appended(tmp_path: Path) -> None:
    data = _BEFORE
    rows = _rows(tmp_path / "log", data)
    for _ in range(20):
        data += b"a line\n"
        rows = _rows(tmp_path / "log", data, _known(rows))
    assert rows == _rows(tmp_path / "log", data)


def test_what_follows_is_not_cut_again(tmp_path: Path) -> None:
    """Chunks of another average stay as they are known."""
    joined = _pairs(_rows(tmp_path / "file", _BEFORE), _BEFORE)
    found = _rows(tmp_path / "file", _BEFORE, _known(joined))
    assert found[: len(joined) - 1] == joined[:-1]


def _pairs(rows: Rows, data: bytes) -> Rows:
    """Two chunks as one each."""
    joined, at = [], 0
    for (one, _), (two, _) in zip(rows[::2], rows[1::2], strict=False):
        joined.append((one + two, blake3(data[at : at + one + two]).digest(20)))
        at += one + two
    return joined
