"""The logs of this machine's containers: where they are, and the processes that write them."""

from __future__ import annotations

import os
import sys
from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path

from kled_provider.kata.creators import is_alive, this_process
from kled_provider.kata.output import logger
from kled_provider.kata.owner.file import OwnerFile
from kled_provider.kled import processes
from kled_provider.kled.processes import ProcessDirectory, ProcessSpec

DEFAULT_MAX_BYTES = 10 << 20
DEFAULT_FILES = 3


@dataclass(frozen=True, slots=True)
class Outputs:
    """`directory` has the logs, which stay; `run_directory` what a boot ends: FIFOs, records."""

    directory: Path
    run_directory: Path

    def log(self, container_id: str) -> Path:
        """The file with what the container has printed last; `.1`, `.2`, … are older."""
        return self.directory / container_id / "output.log"

    def fifo(self, container_id: str) -> Path:
        """The FIFO that a task's standard output and error are."""
        return self.run_directory / f"{container_id}.fifo"

    async def open(
        self,
        container_id: str,
        *,
        max_bytes: int = DEFAULT_MAX_BYTES,
        files: int = DEFAULT_FILES,
    ) -> Path:
        """See that the FIFO and the process behind it are there; returns the FIFO.

        One that lives goes on, unless it writes otherwise than said. Raises HostError, OSError.
        """
        self.run_directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.log(container_id).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fifo = self.fifo(container_id)
        if not fifo.is_fifo():
            fifo.unlink(missing_ok=True)
            os.mkfifo(fifo, 0o600)
        script = Path(logger.__file__)
        words = [fifo, self.log(container_id), max_bytes, files]
        program = ProcessSpec(
            argv=(sys.executable, "-I", "-S", str(script), *map(str, words)), env={}, directory="/"
        )
        await processes.start(self._place(container_id), program, this_process())
        return fifo

    def is_kept(self, container_id: str) -> bool:
        """Whether the process that writes the log lives."""
        return processes.find(self._place(container_id)) is not None

    async def close(self, container_id: str, *, keep: bool = False) -> None:
        """Write what is left and end the process; with `keep` the log stays. Raises OSError."""
        place = self._place(container_id)
        async with processes.hold(place):
            if (running := processes.recorded(place)) is not None:
                await processes.stop(place, running)
            self.fifo(container_id).unlink(missing_ok=True)
            for path in (place.record, place.log):
                path.unlink(missing_ok=True)
            if not keep:
                self._remove(container_id)
        place.lock.unlink(missing_ok=True)

    def recorded(self) -> Iterator[str]:
        """The containers that have a FIFO."""
        for path in sorted(self.run_directory.glob("*.fifo")):
            yield path.name.removesuffix(".fifo")

    def newest_log(self, prefix: str) -> Path | None:
        """The log that was written last, of the containers whose id begins so; None: none is."""
        logs = (self.log(path.name) for path in self.directory.glob(f"{prefix}*"))
        return max((log for log in logs if log.exists()), key=_written_at, default=None)

    def abandoned(self, living: Container[str]) -> Iterator[str]:
        """The containers that have a FIFO, are not `living`, and that nobody is creating."""
        for container_id in self.recorded():
            running = processes.recorded(self._place(container_id))
            if container_id not in living and not (running and is_alive(running.generation)):
                yield container_id

    def _remove(self, container_id: str) -> None:
        log = self.log(container_id)
        for path in log.parent.glob(f"{log.name}*"):
            path.unlink(missing_ok=True)
        if log.parent.is_dir():
            log.parent.rmdir()

    def _place(self, container_id: str) -> ProcessDirectory:
        return ProcessDirectory(self.run_directory, container_id)


def _written_at(path: Path) -> float:
    return path.stat().st_mtime


def outputs_of(owner: OwnerFile) -> Outputs:
    """Return where the owner's file has the logs."""
    run = Path(owner.runtime_directory)
    return Outputs(Path(owner.state_directory) / "logs", run / "outputs")


def read_end(log: Path, most_bytes: int) -> bytes | None:
    """Return the last bytes of what was printed, of the log and the one before; None: no log.

    Raises OSError.
    """
    parts: list[bytes] = []
    for path in (log, log.with_name(f"{log.name}.1")):
        left = most_bytes - sum(map(len, parts))
        try:
            with path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - left))
                parts.insert(0, file.read(left))
        except FileNotFoundError:
            break
    return b"".join(parts) if parts else None
