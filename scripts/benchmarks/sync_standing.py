"""The standing sync, against what rsync and unison take for the same as whole commands."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.report import Row
from benchmarks.sync_world import Bench, change, timed

_SETTLED_S = 120.0


def standing(bench: Bench, saves: int) -> list[Row]:
    """Of the tree that is there: nothing, much and one file changed."""
    from kled_client.sync.control import ask  # noqa: PLC0415  # the path is set by then

    tree, far = bench.home / "tree", bench.home / "kled" / "tree"
    os.environ.update(PATH=bench.env["PATH"])
    subprocess.run(
        [sys.executable, "-m", "kled_client", "sync", "start", "--name", "bench", str(tree),
         f"bench@bastion:{far}"],
        env=bench.env, check=True, capture_output=True,
    )  # fmt: skip

    def flush() -> float:
        began = time.perf_counter()
        ask(bench.env, "flush", name="bench")
        return time.perf_counter() - began

    def all_three() -> tuple[float, float, float]:
        return flush(), _rsync(bench, tree), _unison(bench, tree)

    try:
        for _ in range(2):
            all_three()
        nothing = statistics.median(flush() for _ in range(5)), *all_three()[1:]
        change(tree, saves * 5)
        changed = all_three()
        (tree / "moved").rename(tree / "again")
        renamed = all_three()
        times = sorted(_save(tree, far, number) for number in range(saves))
    finally:
        ask(bench.env, "stop", name="bench")
    p99 = times[min(len(times) - 1, int(len(times) * 0.99))]
    return [
        *_rows("nothing changed, flush", nothing, 1 / 3),
        *_rows("1 % changed, flush", changed, 1.0),
        *_rows("a directory renamed, flush", renamed, 0.2),
        Row(name="one save, p50", value=statistics.median(times) * 1000, unit="ms", wanted=100),
        Row(name="one save, p99", value=p99 * 1000, unit="ms", wanted=300),
    ]


def _rows(name: str, taken: tuple[float, float, float], wanted: float) -> list[Row]:
    ours, rsync, unison = taken
    return [
        Row(name=name, value=ours, unit="s", peer=rsync, wanted=wanted),
        Row(name="  unison, both ways", value=ours, unit="s", peer=unison, wanted=wanted),
    ]


def _rsync(bench: Bench, tree: Path) -> float:
    there = f"bastion:{bench.home}/rsync/tree/"
    return bench.rsync("--delete", f"{tree}/", there).seconds


def _unison(bench: Bench, tree: Path) -> float:
    return timed(
        ["unison", "-batch", "-silent", "-confirmbigdel=false", "-sshcmd", f"{bench.home}/bin/ssh",
         str(tree), f"ssh://bastion/{bench.home}/unison"],
        {**bench.env, "UNISON": f"{bench.home}/unison-state"},
    )[0]  # fmt: skip


def _save(tree: Path, far: Path, number: int) -> float:
    """Seconds from a save here to its being there."""
    text = f"save {number}"
    began = time.perf_counter()
    (tree / "saved.txt").write_text(text)
    target = far / "saved.txt"
    while not target.exists() or target.read_text() != text:
        if time.perf_counter() - began > _SETTLED_S:
            raise RuntimeError("a save did not come over")
        time.sleep(0.001)
    seconds = time.perf_counter() - began
    time.sleep(0.1)  # as nobody saves twice within that
    return seconds
