"""A long walk for `kled sync`: random edits on both sides while its processes are killed.

Each side edits files of its own, so that what must be there in the end is known exactly: the last
thing that was written to each name. `scripts/soak-sync` runs it for as long as wanted.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psutil

from kled_client.sync.control import ask
from kled_wire.errors import KledError

_SETTLE_S: Final = 60.0
# A slow save, which is read while it goes on.
_PART_BYTES: Final = 300_000
_PART_S: Final = 0.003
_MODULES: Final = ("kled_sync", "kled_client")
Model = dict[str, bytes | None]


@dataclass(kw_only=True)
class Soak:
    """Two folders in `home`, a sync between them, and what each side wrote last."""

    home: Path
    seed: int
    random: random.Random = field(init=False)
    model: Model = field(default_factory=dict)
    kills: int = 0
    # Few files, saved again and again and slowly: they are read while they change.
    is_hot: bool = False

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.sides = {name: self.home / name for name in ("alpha", "beta")}
        self.env = {**os.environ, "XDG_STATE_HOME": str(self.home / "state")}
        # Its length must not matter: a name with spaces and bytes that are no text.
        self.odd = os.fsdecode(b"odd \xff name")

    def begin(self) -> None:
        self.sides["alpha"].mkdir(parents=True)
        self.kled(
            "sync", "start", str(self.sides["alpha"]), str(self.sides["beta"]), "--name", "soak"
        )
        self.settle()

    def kled(self, *words: str) -> None:
        subprocess.run(
            [sys.executable, "-m", "kled_client", *words],
            env=self.env, check=True, capture_output=True, timeout=_SETTLE_S,
        )  # fmt: skip

    def edit(self) -> None:
        """One edit by one side, of a file that is its own."""
        side = self.random.choice(sorted(self.sides))
        places = ["", self.odd] if self.is_hot else ["", "deep", "deep/er", self.odd]
        place = self.random.choice(places)
        name = f"{side}-{self.random.randrange(3 if self.is_hot else 12)}"
        path = self.sides[side] / place / name
        key = f"{place}/{name}"
        if self.random.random() < 0.2:
            path.unlink(missing_ok=True)
            self.model[key] = None
            return
        size = self.random.choice([0, 10, 1000, 100_000, 1_500_000, 4_000_000][: 5 + self.is_hot])
        content = self.random.randbytes(size)
        path.parent.mkdir(parents=True, exist_ok=True)
        if self.random.random() < 0.5:
            self._write(path, content)
        else:
            aside = path.with_name(f"{name}.saving")
            aside.write_bytes(content)
            aside.replace(path)
        self.model[key] = content

    def _write(self, path: Path, content: bytes) -> None:
        if not self.is_hot:
            path.write_bytes(content)
            return
        with path.open("wb") as file:
            for at in range(0, len(content), _PART_BYTES):
                file.write(content[at : at + _PART_BYTES])
                file.flush()
                time.sleep(_PART_S)

    def kill(self) -> None:
        """One of the sync's processes, at no chosen moment."""
        found = self.processes()
        if found:
            with suppress(psutil.NoSuchProcess):
                self.random.choice(found).send_signal(signal.SIGKILL)
                self.kills += 1

    def processes(self) -> list[psutil.Process]:
        """The background process and its endpoints."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                words = process.cmdline()
                if (
                    any(module in words for module in _MODULES)
                    and process.environ().get("XDG_STATE_HOME") == self.env["XDG_STATE_HOME"]
                ):
                    found.append(process)
        return sorted(found, key=lambda process: process.pid)

    def settle(self) -> None:
        """Wait until both sides are the same, and compare them with what was written."""
        deadline = time.monotonic() + _SETTLE_S
        while True:
            try:
                status = ask(self.env, "flush", name="soak")
                break
            except (KledError, OSError):  # the one that answers was killed as well
                if time.monotonic() > deadline:
                    raise
        assert status["conflicts"] == [], status["conflicts"]
        assert status["problems"] == [], status["problems"]
        wanted = {
            key.lstrip("/"): content for key, content in self.model.items() if content is not None
        }
        for name, root in self.sides.items():
            found = {
                str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()
            }
            assert found.keys() == wanted.keys(), (name, found.keys() ^ wanted.keys())
            assert [k for k in wanted if found[k] != wanted[k]] == [], name
            assert not (root / ".kled-sync").exists()
        staged = [p for p in (self.home / ".kled-sync").rglob("*") if p.is_file()]
        # The staged part of a large file waits for another try, which may not come.
        left = [p.name for p in staged if not p.name.startswith((".gitignore", "part-"))]
        assert left == []

    def end(self) -> None:
        for process in self.processes():
            with suppress(psutil.Error):
                process.kill()
                process.wait(10)


def soak(
    home: Path,
    *,
    seed: int,
    kills: int,
    edits: int,
    until: float | None = None,
    is_hot: bool = False,
) -> int:
    """Edit and kill; how many kills there were. Raises AssertionError with what is wrong."""
    walk = Soak(home=home, seed=seed, is_hot=is_hot)
    try:
        walk.begin()
        while walk.kills < kills or (until is not None and time.monotonic() < until):
            for _ in range(walk.random.randrange(1, edits)):
                walk.edit()
            if not is_hot:
                time.sleep(walk.random.random() * 0.3)  # somewhere in what that began
            if walk.kills < kills:
                walk.kill()
            if is_hot:
                for _ in range(walk.random.randrange(8)):  # before the sync goes on
                    walk.edit()
            if walk.random.random() < 0.4:
                walk.settle()
        walk.settle()
    finally:
        walk.end()
    return walk.kills
