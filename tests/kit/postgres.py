"""A private PostgreSQL on a Unix socket, which can be taken away and brought back."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path


class Postgres:
    """A server of its own below `directory`. Made by `open_postgres`."""

    def __init__(self, programs: Path, directory: Path) -> None:
        self.url = f"postgresql://kled@/postgres?host={directory}"
        self._programs = programs
        self._directory = directory
        self._data = directory / "data"
        # It refuses to run as root.
        self._user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        if self._user:
            shutil.chown(directory, "postgres")
        self._run("initdb", "-A", "trust", "-U", "kled", "-N", "-D", self._data)

    def start(self) -> None:
        """Start it and wait until it answers."""
        options = f"-k {self._directory} -c listen_addresses='' -c fsync=off"
        log = self._directory / "log"
        self._run("pg_ctl", "-D", self._data, "-w", "-l", log, "-o", options, "start")

    def stop(self) -> None:
        """End it at once; the next start recovers what was committed."""
        self._run("pg_ctl", "-D", self._data, "-m", "immediate", "stop")

    def is_running(self) -> bool:
        """Whether there is a server: one that cannot write its log of changes ends."""
        return self._run("pg_ctl", "-D", self._data, "status", check=False) == 0

    def _run(self, program: str, *words: str | Path, check: bool = True) -> int:
        command: list[str | Path] = [*self._user, self._programs / program, *words]
        return subprocess.run(command, check=check, capture_output=True, cwd="/").returncode


def find_postgres() -> Path | None:
    """Where the programs of the newest version are."""
    return next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)


@contextlib.contextmanager
def open_postgres(parent: Path = Path("/tmp")) -> Iterator[Postgres]:
    """One that runs, in a directory of its own below `parent`; nothing of it stays."""
    programs = find_postgres()
    assert programs is not None, "PostgreSQL is not installed"
    # Short: a socket has to fit into it.
    directory = Path(tempfile.mkdtemp(prefix="kled-pg-", dir=parent))
    try:
        server = Postgres(programs, directory)
        server.start()
        try:
            yield server
        finally:
            if server.is_running():
                server.stop()
    finally:
        shutil.rmtree(directory)
