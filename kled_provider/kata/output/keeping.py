"""The logs of this machine's containers: where they are, and the process that writes them."""

from __future__ import annotations

import json
import os
from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path

from kled_provider.host import HostError
from kled_provider.kata.creators import is_alive, this_process
from kled_provider.kata.output import reaching
from kled_provider.kata.owner.file import OwnerFile
from kled_provider.kled.processes.launcher import write_record

DEFAULT_MAX_BYTES = 10 << 20
DEFAULT_FILES = 3
# A process that ends, or that a newer program replaces, is started again at once.
_ATTEMPTS = 5


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

    def _record(self, container_id: str) -> Path:
        """What the process behind the FIFO is told, and who began it (logger.py)."""
        return self.run_directory / f"{container_id}.kept"

    async def open(
        self,
        container_id: str,
        *,
        max_bytes: int = DEFAULT_MAX_BYTES,
        files: int = DEFAULT_FILES,
    ) -> Path:
        """See that the FIFO is there and is read; returns it. Raises HostError, OSError."""
        self.run_directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.log(container_id).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        kept = {
            "log": str(self.log(container_id)),
            "max_bytes": max_bytes,
            "files": files,
            "creator": this_process(),
        }
        # Before the FIFO: one that nobody is creating is an abandoned one's.
        write_record(str(self._record(container_id)), kept)
        fifo = self.fifo(container_id)
        if not fifo.is_fifo():
            fifo.unlink(missing_ok=True)
            os.mkfifo(fifo, 0o600)
        for _ in range(_ATTEMPTS):
            if await reaching.ask(self.run_directory, "open", container_id):
                return fifo
            await reaching.start(self.run_directory)
        raise HostError(
            "What keeps the logs of containers ends at once",
            hint=f"What it printed is in {self.run_directory / 'logger.log'}.",
        )

    async def close(self, container_id: str, *, keep: bool = False) -> None:
        """Write what is left and read no more; with `keep` the log stays.

        Raises HostError, OSError.
        """
        record = self._record(container_id)
        if record.exists():
            await reaching.ask(self.run_directory, "close", container_id)
        for path in (self.fifo(container_id), record):
            path.unlink(missing_ok=True)
        if not keep:
            self._remove(container_id)

    def recorded(self, prefix: str = "") -> Iterator[str]:
        """The containers that have a record, whose ids begin so: made first, and removed last."""
        for path in sorted(self.run_directory.glob(f"{prefix}*.kept")):
            yield path.name.removesuffix(".kept")

    def newest_log(self, prefix: str) -> Path | None:
        """The log that was written last, of the containers whose id begins so; None: none is."""
        logs = (self.log(path.name) for path in self.directory.glob(f"{prefix}*"))
        return max((log for log in logs if log.exists()), key=_written_at, default=None)

    def abandoned(self, living: Container[str]) -> Iterator[str]:
        """The containers that have a record, are not `living`, and that nobody is creating."""
        for container_id in self.recorded():
            if container_id not in living and not is_alive(self._creator(container_id)):
                yield container_id

    async def ensure_read(self) -> None:
        """Where the process that reads the FIFOs has died, start it again.

        Raises HostError, OSError.
        """
        if any(self.recorded()):
            await reaching.start(self.run_directory)

    def _creator(self, container_id: str) -> str:
        """Who began it; empty where that is not known."""
        try:
            return str(json.loads(self._record(container_id).read_bytes())["creator"])
        except (OSError, ValueError, KeyError, TypeError):
            return ""

    def _remove(self, container_id: str) -> None:
        log = self.log(container_id)
        for path in log.parent.glob(f"{log.name}*"):
            path.unlink(missing_ok=True)
        if log.parent.is_dir():
            log.parent.rmdir()


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
