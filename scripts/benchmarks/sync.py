"""`kled sync` against rsync: the same trees, over the same sshd of this machine, in one run.

A tree of small files in text that is not repetitive, then one large file. Times are of whole
commands, with ssh's connecting and Python's start, and with the processor's seconds of both ends
beside them, which other work on the machine changes less. What people wait for when they save is
the standing sync; those rows have rsync's whole command as their peer, which is what it takes
there. `sync_link` has the same over a slow link, and the peers that follow both sides.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

from benchmarks.report import Row
from benchmarks.sync_link import slow_link_rows
from benchmarks.sync_standing import standing
from benchmarks.sync_world import Bench, change, make_tree, open_bench, rows_of, sync_bytes

FILES = 50_000
LARGE_MIB = 2048
RENAMED = 5_000
SAVES = 100
_MIB = 1024 * 1024


def run(*, quick: bool) -> list[Row]:
    scale = 10 if quick else 1
    with open_bench() as bench:
        rows = _small_files(bench, FILES // scale)
        rows += _large_file(bench, LARGE_MIB // scale)
        rows += standing(bench, SAVES // scale)
    rows += slow_link_rows(FILES // scale)
    return rows


def _small_files(bench: Bench, files: int) -> list[Row]:
    tree = bench.home / "tree"
    make_tree(tree, files)
    both = bench.both(tree, "tree")
    rows = rows_of("initial copy, small files", both, 0.5)
    rows += rows_of("the same, the peer is tar over ssh", (both[0], bench.tar(tree, "tree")), None)
    shutil.rmtree(bench.home / "tar")
    rows += rows_of("nothing changed, one command", bench.both(tree, "tree"), None)
    change(tree, files // 100)
    rows += rows_of("1 % of the files changed, one command", bench.both(tree, "tree"), None)
    _many(tree)
    bench.both(tree, "tree")
    (tree / "many").rename(tree / "moved")
    both = bench.both(tree, "tree", "--delete", "--max-delete", "99999")
    rows += rows_of("a directory renamed, one command", both, None)
    return [*rows, sync_bytes("a directory renamed, bytes", both, 0.2)]


def _many(tree: Path) -> None:
    dice = random.Random(3)
    (tree / "many").mkdir()
    for number in range(RENAMED):
        (tree / "many" / str(number)).write_bytes(dice.randbytes(4000))


def _large_file(bench: Bench, mib: int) -> list[Row]:
    rows = []
    for kind, fill in (("random", os.urandom), ("text", _text)):
        folder = bench.home / kind
        folder.mkdir()
        _write(folder / "file", mib, fill)
        both = bench.both(folder, kind)
        rows += rows_of(f"initial copy, one large file, {kind}", both, 1.0)
        if kind == "random":
            _insert(folder / "file", mib * _MIB // 2)
            both = bench.both(folder, kind)
            rows += rows_of("4 KiB inserted in its middle", both, 1.0)
            rows.append(sync_bytes("4 KiB inserted, bytes", both, 1.0))
        shutil.rmtree(folder)
        for side in ("rsync", "kled"):
            shutil.rmtree(bench.home / side / kind)
    return rows


def _text(size: int) -> bytes:
    return os.urandom(size // 2).hex().encode()


def _write(path: Path, mib: int, fill: Callable[[int], bytes]) -> None:
    with path.open("wb") as file:
        for _ in range(mib):
            file.write(fill(_MIB))


def _insert(path: Path, offset: int) -> None:
    aside = path.with_name("aside")
    with path.open("rb") as source, aside.open("wb") as target:
        left = offset
        while left:
            part = source.read(min(left, _MIB))
            target.write(part)
            left -= len(part)
        target.write(os.urandom(4096))
        shutil.copyfileobj(source, target, _MIB)
    aside.replace(path)
