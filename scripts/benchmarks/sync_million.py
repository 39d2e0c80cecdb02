"""`kled sync` of 1,000,000 files: the memory of each of its processes, and how long it takes.

Not part of `scripts/bench sync`: it takes minutes. Memory is the peak (VmHWM) of the session's
process and of the endpoints at both sides; of the times rsync is the peer.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import psutil
from benchmarks.report import Row
from benchmarks.sync_world import Bench, open_bench, rows_of

FILES: Final = 1_000_000
PER_DIRECTORY: Final = 50
MEMORY_MB: Final = 600
_SAMPLE_S: Final = 0.1
_MB: Final = 1_000_000


def run(*, quick: bool) -> list[Row]:
    """Copy the tree, copy it again, keep it the same."""
    with open_bench() as bench:
        tree = bench.home / "tree"
        _make_tree(tree, FILES // (10 if quick else 1))
        there = f"bastion:{bench.home}/rsync/tree/"
        first, again = (bench.rsync(f"{tree}/", there) for _ in range(2))
        shutil.rmtree(bench.home / "rsync")
        there = f"bench@bastion:{bench.home}/kled/tree"
        rows: list[Row] = []
        for name, peer in (("initial copy", first), ("nothing changed", again)):
            with _peaks(bench) as peaks:
                ours = bench.push(f"{tree}/", there)
            rows += [*rows_of(f"{name}, one command", (ours, peer), None), *_memory(peaks)]
        return rows + _standing(bench, tree)


def _make_tree(root: Path, files: int) -> None:
    """Directories of 50 files of up to 200 bytes, in directories of 100."""
    dice = random.Random(1)
    text = dice.randbytes(100_000).hex().encode()
    for number in range(files // PER_DIRECTORY):
        directory = root / f"d{number // 100}" / f"e{number}"
        directory.mkdir(parents=True)
        above = os.open(directory, os.O_RDONLY)
        for name in range(PER_DIRECTORY):
            begin, size = dice.randrange(150_000), dice.randrange(200)
            file = os.open(f"file{name}.txt", os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=above)
            os.write(file, text[begin : begin + size])
            os.close(file)
        os.close(above)


def _standing(bench: Bench, tree: Path) -> list[Row]:
    """Of a sync that goes on: its start, nothing changed, one file saved, everything looked at."""
    from kled_client.sync.control import ask  # noqa: PLC0415  # the path is set by then

    os.environ.update(PATH=bench.env["PATH"])
    rows: list[Row] = []

    def flush(name: str, began: float | None = None) -> None:
        began = began or time.perf_counter()
        ask(bench.env, "flush", name="bench")
        rows.append(Row(name=name, value=time.perf_counter() - began, unit="s"))

    with _peaks(bench) as peaks:
        began = time.perf_counter()
        _start(bench, tree)
        try:
            flush("standing sync, start to flush", began)
            flush("  nothing changed, flush")
            (tree / "d0" / "e0" / "file0.txt").write_text("saved")
            flush("  one file saved, flush")
            ask(bench.env, "pause", name="bench")
            ask(bench.env, "resume", name="bench")
            flush("  nothing changed, rescan")
            (tree / "d1").rename(tree / "moved")
            flush("  a directory of 5,000 renamed, flush")
        finally:
            ask(bench.env, "stop", name="bench")
    return [*rows, *_memory(peaks)]


def _start(bench: Bench, tree: Path) -> None:
    target = f"bench@bastion:{bench.home}/kled/tree"
    subprocess.run(
        [sys.executable, "-m", "kled_client", "sync", "start", "--name", "bench",
         str(tree), target],
        env=bench.env, check=True, capture_output=True,
    )  # fmt: skip


def _memory(peaks: dict[str, int]) -> list[Row]:
    return [
        Row(name=f"  memory, {role}", value=peaks[role] / _MB, unit="MB", wanted=MEMORY_MB)
        for role in sorted(peaks)
    ]


@contextmanager
def _peaks(bench: Bench) -> Iterator[dict[str, int]]:
    """The most memory that each process of `kled sync` took meanwhile, by what it is, in bytes."""
    peaks: dict[str, int] = {}
    stop = threading.Event()

    def sample() -> None:
        while not stop.wait(_SAMPLE_S):
            below = {process.pid for process in psutil.Process().children(recursive=True)}
            for process in psutil.process_iter():
                with suppress(psutil.Error, OSError):
                    role = _role(bench, process, process.pid in below)
                    if role:
                        peaks[role] = max(peaks.get(role, 0), _peak(process.pid))

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield peaks
    finally:
        stop.set()
        thread.join()


def _role(bench: Bench, process: psutil.Process, is_below: bool) -> str:
    """What a process is of this sync; nothing of another program, or of another sync."""
    words = process.cmdline()
    is_near = process.environ().get("XDG_STATE_HOME") == bench.env["XDG_STATE_HOME"]
    if "kled_sync" in words and is_near:
        return "this side"
    if "kled_client" in words and is_near and "start" not in words:
        return "session"
    is_far = is_below and not is_near and "sync-server" in words
    return "far side" if is_far else ""


def _peak(pid: int) -> int:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.partition("VmHWM:")[2].split()[0]) * 1024
