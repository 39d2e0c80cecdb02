"""`kled sync` against rsync: the same trees, over the same sshd of this machine, in one run.

A tree of small files in text that is not repetitive, then one large file. Times are of whole
commands, with ssh's connecting and Python's start; what people wait for when they save is the
standing sync.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.report import Row
from benchmarks.world import open_bastion

FILES, PER_DIRECTORY = 50_000, 49
LARGE_MIB = 2048
RENAMED = 5_000
SAVES = 100
_MIB = 1024 * 1024
_SETTLED_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """Two folders: `here`, and those of rsync and of us on the host `bastion`."""

    home: Path
    ssh: list[str]
    env: dict[str, str]

    def rsync(self, *words: str) -> tuple[float, int]:
        """Seconds, and bytes both ways."""
        command = ["rsync", "-a", "--stats", "-e", " ".join(self.ssh[:-1]), *words]
        seconds, said = _timed(command, self.env)
        moved = re.findall(r"Total bytes (?:sent|received): ([\d,]+)", said)
        return seconds, sum(int(number.replace(",", "")) for number in moved)

    def push(self, *words: str) -> tuple[float, int]:
        command = [sys.executable, "-m", "kled_client", "sync", "push", "-o", "json", *words]
        seconds, said = _timed(command, self.env)
        return seconds, int(json.loads(said.splitlines()[-1])["wire_bytes"])

    def both(self, source: Path, name: str, *words: str) -> tuple[float, float, int, int]:
        """Bring `source` over by each: seconds, and bytes."""
        ours = self.push(*words, f"{source}/", f"bench@bastion:{self.home}/kled/{name}")
        theirs = self.rsync(*words, f"{source}/", f"bastion:{self.home}/rsync/{name}/")
        return ours[0], theirs[0], ours[1], theirs[1]


def run(*, quick: bool) -> list[Row]:
    scale = 10 if quick else 1
    with _bench() as bench:
        rows = _small_files(bench, FILES // scale)
        rows += _large_file(bench, LARGE_MIB // scale)
        rows += _standing(bench, SAVES // scale)
    return rows


@contextmanager
def _bench() -> Iterator[Bench]:
    """In memory where there is room: a disk that is shared measures its other users."""
    shared = Path("/dev/shm")  # removed at the end
    place = shared if shared.is_dir() and shutil.disk_usage(shared).free > 12 * 1024**3 else None
    home = Path(tempfile.mkdtemp(prefix="kled-bench-sync-", dir=place))
    try:
        with open_bastion() as words:
            ssh = [*words[:-1], "bastion"]
            programs = home / "bin"
            programs.mkdir()
            for side in ("rsync", "kled"):
                (home / side).mkdir()
            # `kled` calls plain ssh; here it is one that knows the host.
            wrapper = programs / "ssh"
            quoted = " ".join(f"'{word}'" for word in ["/usr/bin/ssh", *ssh[1:-1]])
            wrapper.write_text(f'#!/bin/sh\nexec {quoted} -l "$(id -un)" "$@"\n')
            wrapper.chmod(0o755)
            env = {
                **os.environ,
                "PATH": f"{programs}:{os.environ['PATH']}",
                "XDG_STATE_HOME": str(home / "state"),
            }
            yield Bench(home=home, ssh=ssh, env=env)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _timed(command: list[str], env: dict[str, str]) -> tuple[float, str]:
    began = time.perf_counter()
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - began
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed: {done.stderr.strip()[-300:]}")
    return seconds, done.stdout


def make_tree(root: Path, files: int) -> None:
    """Directories of 49 files, sizes as source code has them, in words that do not repeat much."""
    dice = random.Random(1)
    words = [dice.randbytes(dice.randint(2, 7)).hex() for _ in range(20_000)]
    for number in range(files):
        directory = root / f"d{number // PER_DIRECTORY % 32}" / f"e{number // PER_DIRECTORY}"
        if number % PER_DIRECTORY == 0:
            directory.mkdir(parents=True)
        size = min(int(dice.lognormvariate(7.4, 1.2)), 200_000)
        text = " ".join(dice.choices(words, k=max(1, size // 10)))
        (directory / f"file{number % PER_DIRECTORY}.txt").write_text(text)


def _row(name: str, ours: float, theirs: float, wanted: float | None) -> Row:
    return Row(name=name, value=ours, unit="s", peer=theirs, wanted=wanted)


def _small_files(bench: Bench, files: int) -> list[Row]:
    tree = bench.home / "tree"
    make_tree(tree, files)
    ours, theirs, _, _ = bench.both(tree, "tree")
    rows = [_row("initial copy, small files", ours, theirs, 0.5)]
    ours, theirs, _, _ = bench.both(tree, "tree")
    rows.append(_row("nothing changed, one command", ours, theirs, None))
    dice = random.Random(2)
    for path in dice.sample(sorted(tree.rglob("*.txt")), files // 100):
        path.write_text(f"changed {dice.random()}")
    ours, theirs, _, _ = bench.both(tree, "tree")
    rows.append(_row("1 % of the files changed", ours, theirs, 1.0))
    return [*rows, *_renamed(bench, tree)]


def _renamed(bench: Bench, tree: Path) -> list[Row]:
    many = tree / "many"
    many.mkdir()
    dice = random.Random(3)
    for number in range(RENAMED):
        (many / str(number)).write_bytes(dice.randbytes(4000))
    bench.both(tree, "tree")
    many.rename(tree / "moved")
    ours, theirs, sent, their_sent = bench.both(tree, "tree", "--delete", "--max-delete", "99999")
    return [
        _row("a directory renamed", ours, theirs, 0.2),
        Row(name="a directory renamed, bytes", value=sent, unit="B", peer=their_sent, wanted=0.2),
    ]


def _large_file(bench: Bench, mib: int) -> list[Row]:
    rows = []
    for kind, fill in (("random", os.urandom), ("text", _text)):
        folder = bench.home / kind
        folder.mkdir()
        _write(folder / "file", mib, fill)
        ours, theirs, _, _ = bench.both(folder, kind)
        rows.append(_row(f"initial copy, one large file, {kind}", ours, theirs, 1.0))
        if kind == "random":
            _insert(folder / "file", mib * _MIB // 2)
            ours, theirs, sent, their_sent = bench.both(folder, kind)
            rows += [
                _row("4 KiB inserted in its middle", ours, theirs, 1.0),
                Row(
                    name="4 KiB inserted, bytes", value=sent, unit="B", peer=their_sent, wanted=1.0
                ),
            ]
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


def _standing(bench: Bench, saves: int) -> list[Row]:
    """A sync that goes on, of the tree that is there: one save, and nothing at all."""
    from kled_client.sync.control import ask  # noqa: PLC0415  # the path is set by then

    tree, far = bench.home / "tree", bench.home / "kled" / "tree"
    os.environ.update(PATH=bench.env["PATH"])
    subprocess.run(
        [sys.executable, "-m", "kled_client", "sync", "start", "--name", "bench", str(tree),
         f"bench@bastion:{far}"],
        env=bench.env, check=True, capture_output=True,
    )  # fmt: skip
    try:
        ask(bench.env, "flush", name="bench")
        nothing = []
        for _ in range(5):
            began = time.perf_counter()
            ask(bench.env, "flush", name="bench")
            nothing.append(time.perf_counter() - began)
        theirs, _ = bench.rsync(f"{tree}/", f"bastion:{bench.home}/rsync/tree/")
        times = sorted(_save(tree, far, number) for number in range(saves))
    finally:
        ask(bench.env, "stop", name="bench")
    p99 = times[min(len(times) - 1, int(len(times) * 0.99))]
    return [
        _row("nothing changed, flush", statistics.median(nothing), theirs, 1 / 3),
        Row(name="one save, p50", value=statistics.median(times) * 1000, unit="ms", wanted=100),
        Row(name="one save, p99", value=p99 * 1000, unit="ms", wanted=300),
    ]


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
