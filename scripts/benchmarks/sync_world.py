"""Two ends on this machine for the benchmarks of file sync, the commands, and the trees."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import psutil
from benchmarks.report import Row
from benchmarks.world import open_bastion

PER_DIRECTORY = 49
# A server's child is counted when it has been waited for.
_REAPED_S = 0.3


class Taken(NamedTuple):
    """Of one command: seconds, those of the processor at both ends, and bytes both ways."""

    seconds: float
    processor: float
    sent: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """Two folders: `here`, and those of rsync and of us on the host `bastion`."""

    home: Path
    ssh: list[str]
    env: dict[str, str]

    def rsync(self, *words: str) -> Taken:
        command = ["rsync", "-a", "--stats", "-e", " ".join(self.ssh[:-1]), *words]
        seconds, processor, said = timed(command, self.env)
        moved = re.findall(r"Total bytes (?:sent|received): ([\d,]+)", said)
        return Taken(seconds, processor, sum(int(number.replace(",", "")) for number in moved))

    def tar(self, source: Path, name: str) -> Taken:
        """The lower bound: tar over ssh sends all files in one stream and compares none."""
        target = self.home / "tar" / name
        far = f"{' '.join(self.ssh)} 'mkdir -p {target} && tar -C {target} -x'"
        seconds, processor, _ = timed(["sh", "-c", f"tar -C {source} -c . | {far}"], self.env)
        return Taken(seconds, processor, 0)

    def push(self, *words: str) -> Taken:
        command = [sys.executable, "-m", "kled_client", "sync", "push", "-o", "json", *words]
        seconds, processor, said = timed(command, self.env)
        return Taken(seconds, processor, int(json.loads(said.splitlines()[-1])["wire_bytes"]))

    def both(self, source: Path, name: str, *words: str) -> tuple[Taken, Taken]:
        """Bring `source` over by each, rsync first."""
        theirs = self.rsync(*words, f"{source}/", f"bastion:{self.home}/rsync/{name}/")
        ours = self.push(*words, f"{source}/", f"bench@bastion:{self.home}/kled/{name}")
        return ours, theirs


@contextmanager
def open_bench(host: str = "127.0.0.1") -> Iterator[Bench]:
    """In memory where there is room: a disk that is shared measures its other users."""
    shared = Path("/dev/shm")  # removed at the end
    place = shared if shared.is_dir() and shutil.disk_usage(shared).free > 12 * 1024**3 else None
    home = Path(tempfile.mkdtemp(prefix="kled-bench-sync-", dir=place))
    try:
        with open_bastion(host) as words:
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
            # An installed program is compiled once, not at each start.
            kept = {n: v for n, v in os.environ.items() if n != "PYTHONDONTWRITEBYTECODE"}
            env = {
                **kept,
                "PATH": f"{programs}:{os.environ['PATH']}",
                "XDG_STATE_HOME": str(home / "state"),
            }
            yield Bench(home=home, ssh=ssh, env=env)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def timed(command: list[str], env: dict[str, str]) -> tuple[float, float, str]:
    """Seconds, those of the processor with the sshd's below this process, and what it said."""
    began, used = time.perf_counter(), _processor()
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - began
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed: {done.stderr.strip()[-300:]}")
    time.sleep(_REAPED_S)
    return seconds, _processor() - used, done.stdout


def _processor() -> float:
    """Of all children of this process that have ended, and of the servers among them."""
    mine = psutil.Process().cpu_times()
    used = mine.children_user + mine.children_system
    for server in psutil.Process().children():
        times = server.cpu_times()
        used += times.user + times.system + times.children_user + times.children_system
    return used


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


def rows_of(name: str, both: tuple[Taken, Taken], wanted: float | None) -> list[Row]:
    """Seconds, and the processor's."""
    ours, theirs = both
    return [
        Row(name=name, value=ours.seconds, unit="s", peer=theirs.seconds, wanted=wanted),
        Row(name="  of processors", value=ours.processor, unit="s", peer=theirs.processor),
    ]


def sync_bytes(name: str, both: tuple[Taken, Taken], wanted: float) -> Row:
    return Row(name=name, value=both[0].sent, unit="B", peer=both[1].sent, wanted=wanted)


def change(tree: Path, files: int) -> None:
    """Write to some of the files."""
    dice = random.Random(files)
    for path in dice.sample(sorted(tree.rglob("*.txt")), files):
        path.write_text(f"changed {dice.random()}")
