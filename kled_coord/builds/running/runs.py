"""The directories in which builds run, and the rescue of a state Terraform could not save.

Terraform leaves such a state as a file in its directory. So a directory is removed only when its
state is safe: as a new version, or, where it cannot be one, as a file for a person. The Terraform
of a killed coordinator is ended before other builds run; if the system cannot identify it
(leftovers.py), its directory is checked repeatedly.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog
import trio

from kled_coord.builds.logs import append_line
from kled_coord.builds.states.backend import States
from kled_coord.changes import Changes
from kled_coord.sources import Clock, Monotonic
from kled_coord.store.builds import build_by_id
from kled_coord.store.engine import Store
from kled_coord.store.errors import StoreError
from kled_coord.store.records import Build
from kled_coord.terraform.process.command import ERRORED_STATE_FILE
from kled_coord.terraform.process.leftovers import LeftoversError, end_processes
from kled_coord.terraform.run import load_errored_state
from kled_coord.terraform.session import WORK_DIRECTORY, of_run
from kled_wire.errors import KledError
from kled_wire.names import BuildId, WorkspaceId
from kled_wire.trees import discard_tree, empty_directory, opened_directory

# How long an abandoned Terraform, which is interrupted, may take to save its state.
_INTERRUPT_S: Final = 20.0
# A file that was seen to change this lately may still be written by a Terraform that outlived its
# worker.
_SETTLED_S: Final = 10.0
# When nothing has changed for so long, nobody is at work any more in a directory without a state.
_FORGOTTEN_S: Final = 86400.0

# Disk space that is kept for a state which neither the database nor Terraform can write because the
# disk is full. It is given up when the database refuses a state. Nearly all states are smaller.
RESERVE_FILE: Final = "reserve"
_RESERVE_BYTES: Final = 2 << 20

log = structlog.get_logger(__name__)


class RunDirectories:
    """Makes the directories of runs below `directory`; states nobody takes go below `kept`.

    One process at a time uses `directory`.
    """

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        monotonic: Monotonic,
        changes: Changes,
        states: States,
        directory: Path,
        kept: Path,
    ) -> None:
        self._store = store
        self._clock = clock
        self._monotonic = monotonic
        self._changes = changes
        self._states = states
        self._directory = directory
        self._kept = kept
        self._open: set[Path] = set()
        # Directories of runs that have ended, whose states are not saved yet.
        self._over: set[Path] = set()
        # What each directory of nobody here looked like, and since when: a file's time would be
        # compared with a clock that may have been set.
        self._looks: dict[Path, tuple[_Look, float]] = {}

    async def make(self, build: Build) -> Path:
        """An empty, private directory for one run. Raises OSError."""
        path = await trio.to_thread.run_sync(self._make, build.id)
        self._open.add(path)
        return path

    async def clear(self, build: Build, path: Path) -> None:
        """Save the state left in a run's directory, if any, and remove the directory.

        Cancelled, or while disk or database take nothing, it is left for `recover`, and for
        `rescue_of`.
        """
        self._over.add(path)
        self._open.discard(path)
        with suppress(StoreError):  # it has been logged
            await self._rescue(build, path)

    async def make_room(self, build_id: BuildId) -> None:
        """The backend has not taken a build's state: let Terraform have room for a file of it.

        Also the Terraform of an earlier process, which is ended.
        """
        for path in await trio.to_thread.run_sync(self._all):
            if _build_id(path) == build_id:
                await trio.to_thread.run_sync((path / RESERVE_FILE).unlink, True)

    async def rescue_of(self, workspace_id: WorkspaceId) -> None:
        """Save what a workspace's earlier builds left, before the next. Raises StoreError."""
        for path in sorted(self._over):
            build = await self._store.read(build_by_id, _build_id(path))
            if build is not None and build.workspace_id == workspace_id:
                await self._rescue(build, path)

    async def end_abandoned(self) -> None:
        """End what still runs in the directories that an earlier process left.

        A Terraform that is interrupted saves its state as long as its build has not ended, else it
        leaves the state there, and that is saved. Once, before the first `make`; does nothing on a
        system that does not say which processes those are.
        """
        if sys.platform != "linux":
            return
        async with trio.open_nursery() as nursery:
            for path in await trio.to_thread.run_sync(self._others):
                nursery.start_soon(self._end_abandoned, path)

    async def _end_abandoned(self, path: Path) -> None:
        try:
            ended = await end_processes(of_run(path), first=signal.SIGINT, grace_s=_INTERRUPT_S)
            log.warning("run_abandoned", directory=str(path), processes=ended)
            self._over.add(path)
            await self._recover(path)
        except (LeftoversError, StoreError) as error:
            log.error("run_not_ended", directory=str(path), reason=error.message)

    async def recover(self) -> None:
        """See to the directories that an earlier process left. Raises StoreError."""
        for path in await trio.to_thread.run_sync(self._leftovers, self._monotonic()):
            await self._recover(path)

    async def _recover(self, path: Path) -> None:
        build = await self._store.read(build_by_id, _build_id(path))
        if build is None:
            log.warning("run_unknown", directory=str(path))
            await trio.to_thread.run_sync(_strip, path)
            self._over.discard(path)
        else:
            await self._rescue(build, path)

    async def _rescue(self, build: Build, path: Path) -> None:
        """Raises StoreError, with the state left alone in the directory."""
        try:
            state = await trio.to_thread.run_sync(load_errored_state, path / WORK_DIRECTORY)
            if state is not None:
                await self._save(build, state)
        except OSError as error:
            log.error("state_not_rescued", build=build.id, directory=str(path), reason=str(error))
            await trio.to_thread.run_sync(_strip, path)
            return
        except StoreError as error:
            log.warning("state_not_rescued_yet", build=build.id, reason=error.message)
            await trio.to_thread.run_sync(_strip, path)
            raise
        await trio.to_thread.run_sync(discard_tree, path)
        self._over.discard(path)

    async def _save(self, build: Build, state: bytes) -> None:
        """Keep a state as a version, else as a file. Raises StoreError, OSError."""
        try:
            version = await self._states.adopt(build.workspace_id, build.id, state)
        except StoreError:
            raise  # that passes
        except KledError as error:
            file = await trio.to_thread.run_sync(self._keep, build, state)
            log.error("state_kept_aside", build=build.id, file=str(file), reason=error.message)
            text = f"Terraform could not save its state, nor could the coordinator: {error.line()}."
            await self._tell(build, "error", f"{text} It is in {file} on the coordinator's machine")
        else:
            log.warning("state_rescued", build=build.id, version=version)
            text = "Terraform could not save its state; the coordinator did, as version"
            await self._tell(build, "warning", f"{text} {version}")

    async def _tell(self, build: Build, level: str, text: str) -> None:
        try:
            await append_line(self._store, self._clock, self._changes, build.id, level, text)
        except StoreError as error:
            log.warning("build_log_lost", build=build.id, reason=error.message)

    def _make(self, build_id: BuildId) -> Path:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = Path(tempfile.mkdtemp(prefix=f"{build_id}.", dir=self._directory))
        try:
            with (path / RESERVE_FILE).open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, _RESERVE_BYTES)
        except OSError:
            discard_tree(path)  # what cannot be saved is better not begun
            raise
        return path

    def _leftovers(self, now: float) -> list[Path]:
        """Directories of nobody here, in which nobody seems to be at work any more."""
        before, self._looks = self._looks, {}
        over: list[Path] = []
        for path in self._others():
            if (look := _look(path)) is None:
                continue  # somebody has removed it meanwhile
            if path in self._over:
                over.append(path)
                continue
            earlier, since = before.get(path, (look, now))
            since = since if earlier == look else now
            self._looks[path] = look, since
            if now - since > (_SETTLED_S if look.has_state else _FORGOTTEN_S):
                over.append(path)
        return over

    def _others(self) -> list[Path]:
        """Directories of nobody here."""
        return [path for path in self._all() if path not in self._open]

    def _all(self) -> list[Path]:
        try:
            return sorted(self._directory.iterdir())
        except OSError as error:
            if not isinstance(error, FileNotFoundError):
                log.warning("runs_unreadable", reason=str(error))
            return []

    def _keep(self, build: Build, state: bytes) -> Path:
        directory = self._kept / build.workspace_id
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        # mkstemp makes it 0600, and never over another.
        number, name = tempfile.mkstemp(prefix=f"{build.id}.", suffix=".tfstate", dir=directory)
        with os.fdopen(number, "wb") as file:
            file.write(state)
            file.flush()
            os.fsync(file.fileno())
        return Path(name)


class RunDirectory:
    """One build's directory: made when asked for, cleared at the end."""

    def __init__(self, runs: RunDirectories, build: Build) -> None:
        self._runs = runs
        self._build = build
        self._path: Path | None = None

    async def directory(self) -> Path:
        """The directory, empty at first. Raises OSError."""
        if self._path is None:
            self._path = await self._runs.make(self._build)
        return self._path

    async def close(self) -> None:
        """The run is over: save what it left, remove the rest."""
        if self._path is not None:
            await self._runs.clear(self._build, self._path)
            self._path = None


def _strip(path: Path) -> None:
    """Leave the state alone of what a run had: the rest holds secrets in clear, and is of no use.

    Without a state nothing is left.
    """
    for directory, kept in ((path, WORK_DIRECTORY), (path / WORK_DIRECTORY, ERRORED_STATE_FILE)):
        with suppress(OSError), opened_directory(directory, None) as opened:
            empty_directory(opened, (kept,))
    for directory in (path / WORK_DIRECTORY, path):
        with suppress(OSError):  # what holds the state stays
            directory.rmdir()


@dataclass(frozen=True, slots=True)
class _Look:
    """What changes while Terraform works: its state file, or without one the directory."""

    has_state: bool
    changed_ns: int
    size: int


def _look(path: Path) -> _Look | None:
    for entry, has_state in ((path / WORK_DIRECTORY / ERRORED_STATE_FILE, True), (path, False)):
        with suppress(OSError):  # also where the template's programs have closed the directory
            found = entry.stat(follow_symlinks=False)
            return _Look(has_state, found.st_mtime_ns, found.st_size)
    return None


def _build_id(path: Path) -> BuildId:
    return BuildId(path.name.partition(".")[0])
