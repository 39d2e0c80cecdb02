"""Reads a whole file, and detects a change during the read."""

from __future__ import annotations

import os
import time
from collections.abc import Generator
from typing import Final

from blake3 import blake3

from kled_sync.files.reading.chunk_store import ChunkList, ChunkStore
from kled_sync.files.reading.chunking import CHUNKED_BYTES, chunks_of
from kled_sync.files.reading.memory import SeenEntry, seen, seen_file, seen_problem
from kled_sync.files.root import Root
from kled_sync.tree.entry import Kind, make_frozen

TRIES: Final = 3
# Some 10 ms of a processor.
_STEP_BYTES: Final = 16 * 1024 * 1024
CHANGING: Final = "it changes while it is read"


def read_small(descriptor: int, size: int) -> bytes:
    """A file of about `size` bytes to its end; that much is asked for, which is quickest."""
    parts = []
    while part := os.read(descriptor, size + 1):
        parts.append(part)
        if len(part) <= size and sum(map(len, parts)) == size:
            break
    return parts[0] if len(parts) == 1 else b"".join(parts)


def is_same(before: os.stat_result, after: os.stat_result) -> bool:
    """Whether a file was not written to between two looks."""
    return (before.st_mtime_ns, before.st_ctime_ns, before.st_size) == (
        after.st_mtime_ns,
        after.st_ctime_ns,
        after.st_size,
    )


def is_known(
    root: Root, path: bytes, known: SeenEntry, found: os.stat_result, store: ChunkStore
) -> bool:
    """As `SeenEntry.is_still`; what was read too soon to be sure is read again. Raises OSError."""
    if known.is_sure:
        return known.is_still(found)
    if known.entry.is_file:
        again = hash_file(root, path, store)
        return again is not None and again.entry.tail == known.entry.tail
    return known.entry.kind is not Kind.LINK or root.read_link(path) == known.entry.tail


def hash_file(root: Root, path: bytes, store: ChunkStore) -> SeenEntry | None:
    """The file at `path` with its digest; a problem in its place where it cannot be read.

    None where nothing is there now. Remembers the chunks of a large one.
    """
    hashing = hash_in_steps(root, path, store)
    while True:
        try:
            next(hashing)
        except StopIteration as done:
            found: SeenEntry | None = done.value
            return found


def hash_in_steps(
    root: Root, path: bytes, store: ChunkStore
) -> Generator[bool, None, SeenEntry | None]:
    """The same; yields after each `_STEP_BYTES`, for other work."""
    try:
        found = root.stat(path)
        descriptor = root.open_file(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as exc:
        return seen_problem(found, exc.strerror or str(exc)) if found is not None else None
    try:
        for _ in range(TRIES):
            began = time.time_ns()
            before = os.fstat(descriptor)
            digest = yield from _digest(descriptor, before.st_size, store)
            if is_same(before, os.fstat(descriptor)):
                return seen_file(before, digest, began)
            os.lseek(descriptor, 0, os.SEEK_SET)
        # A long write(2) sets the times as it begins: its end would not show.
        return seen(make_frozen(Kind.PROBLEM, CHANGING), None)
    except OSError as exc:
        return seen_problem(before, exc.strerror or str(exc))
    finally:
        os.close(descriptor)


def _digest(descriptor: int, size: int, store: ChunkStore) -> Generator[bool, None, bytes]:
    if size < CHUNKED_BYTES:
        return blake3(read_small(descriptor, size)).digest()
    whole, chunks = blake3(), ChunkList()
    at = 0
    for found in chunks_of(descriptor, size, whole):
        for chunk in found:
            chunks.add(chunk.length, chunk.hash)
            at += chunk.length
        if at >= _STEP_BYTES:
            at = 0
            yield True
    digest = whole.digest()
    store.save(digest, chunks)
    return digest
