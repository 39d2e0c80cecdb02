"""The volumes of this machine on disk: a record for each, its lock, and the directory itself.

A volume is known by an id that nothing changes; its name is a field of the record, so a rename
moves nothing. It belongs to a workspace. One that is kept when its resource is destroyed belongs to
none, and its owner's next create of that name, or import, takes it.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import trio

from kled_provider.kled.processes.launcher import write_record
from kled_provider.locks import take_lock

# How long a container that is made waits for another one to let go of a volume.
WAIT_S = 5.0
_LOOK_AGAIN_S = 0.05
DIRECTORY = "directory"
TMPFS = "tmpfs"
_IN_NAME = re.compile(r"vol-[0-9a-f]{16}")


class VolumeError(Exception):
    """A volume cannot be had or changed. `attribute` is what of the resource it is about."""

    def __init__(self, message: str, hint: str = "", *, attribute: str = "name") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.attribute = attribute


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredVolume:
    """A volume. `workspace` is empty where it is kept for its owner; `uid` None: root's.
    `size_mib` 0: as nobody has said.

    `data` is the directory itself, `lock` the file that the writing task has locked. `generation`
    is of the create that made or adopted it last. `source` says what it was populated from.
    """

    id: str
    name: str
    workspace: str
    owner: str
    generation: str
    data: Path
    lock: Path
    kind: str = DIRECTORY
    place: str | None = None
    size_mib: int = 0
    read_only: bool = False
    retention: str = "delete"
    uid: int | None = None
    gid: int | None = None
    mode: str = "0755"  # octal, as the template has it
    source: tuple[str, str] | None = None

    def is_there(self) -> bool:
        """Whether there is a directory where there has to be one."""
        return self.kind == TMPFS or self.data.is_dir()


class VolumeStore:
    """Finds and changes records; who changes what stands here holds `lock`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    @property
    def lock(self) -> Path:
        """The file of the lock (locks.hold_lock)."""
        return self._directory / "volumes.lock"

    def place(self, id: str, root: Path) -> tuple[Path, Path]:  # noqa: A002 - the record's word
        """Return where the directory and the lock of a new volume will be."""
        return root / id, self._directory / "volumes" / f"{id}.lock"

    def save(self, volume: StoredVolume) -> None:
        """Put a record in its place. Raises OSError."""
        path = self._record(volume.id)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_record(
            str(path), {**asdict(volume), "data": str(volume.data), "lock": str(volume.lock)}
        )

    def load(self, id: str) -> StoredVolume | None:  # noqa: A002
        """Return a volume by its id; None where there is none, or no directory to it."""
        volume = self._read(id)
        return volume if volume is not None and volume.is_there() else None

    def of_workspace(self, id: str | None, workspace: str) -> StoredVolume | None:  # noqa: A002
        """Return a workspace's volume, also one whose directory is gone; None where it has none."""
        volume = self._read(id or "")
        return volume if volume is not None and volume.workspace == workspace else None

    def _read(self, id: str) -> StoredVolume | None:  # noqa: A002
        if not _IN_NAME.fullmatch(id):
            return None
        try:
            found = json.loads(self._record(id).read_bytes())
            source = found.pop("source")
            return StoredVolume(
                **{**found, "data": Path(found["data"]), "lock": Path(found["lock"])},
                source=None if source is None else (source[0], source[1]),
            )
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    def all(self) -> Iterator[StoredVolume]:
        """Every volume that can be read."""
        for path in sorted((self._directory / "volumes").glob("*.json")):
            if (volume := self.load(path.name.removesuffix(".json"))) is not None:
                yield volume

    def find(self, name: str, workspace: str, owner: str) -> StoredVolume | None:
        """Return the workspace's volume of a name, else the one that is kept for its owner."""
        found = [v for v in self.all() if v.name == name and v.owner == owner]
        own = next((v for v in found if v.workspace == workspace), None)
        return own or next((v for v in found if not v.workspace), None)

    def forget(self, id: str) -> None:  # noqa: A002
        """Remove a record and its lock; what is gone is no error."""
        self._record(id).unlink(missing_ok=True)
        (self._directory / "volumes" / f"{id}.lock").unlink(missing_ok=True)

    def orphans(self, root: Path) -> list[Path]:
        """What a killed run left below a root: of no volume, and locked by nobody who makes it."""
        found = []
        for path in sorted(root.glob("*")):
            match = _IN_NAME.search(path.name)
            if match is None or (self.load(match[0]) is not None and path.name == match[0]):
                continue
            lock = self.place(match[0], root)[1]
            if not lock.exists() or is_free(lock):
                found.append(path)
        return found

    def _record(self, id: str) -> Path:  # noqa: A002
        return self._directory / "volumes" / f"{id}.json"


def id_of(path: Path) -> str:
    """Return the id of the volume that an orphan was of."""
    match = _IN_NAME.search(path.name)
    return match[0] if match else ""


def is_free(lock: Path) -> bool:
    """Whether nobody holds the lock of a file."""
    fd = os.open(lock, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        return take_lock(fd)
    finally:
        os.close(fd)


def new_id() -> str:
    """Make the id of a volume."""
    return f"vol-{secrets.token_hex(8)}"


def writer(volume: StoredVolume) -> str | None:
    """Return the container whose task writes the volume now; None: none does (holding.py)."""
    try:
        lock = os.open(volume.lock, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        if take_lock(lock):
            return None
        return os.pread(lock, 200, 0).decode("utf-8", "replace") or "another one"
    finally:
        os.close(lock)


def require_no_writer(volume: StoredVolume, besides: str = "") -> None:
    """Refuse where a task writes the volume, other than that container's. Raises VolumeError."""
    holder = writer(volume)
    if holder not in (None, besides):
        raise VolumeError(
            f"volume {volume.name!r} is in use by container {holder}",
            "One task writes a volume at a time: stop that one first, or mount it read-only.",
        )


async def wait_no_writer(volume: StoredVolume, besides: str = "") -> None:
    """As `require_no_writer`, after a while: Terraform may be ending the other task meanwhile."""
    with trio.move_on_after(WAIT_S):
        while writer(volume) not in (None, besides):  # noqa: ASYNC110 - nothing else tells
            await trio.sleep(_LOOK_AGAIN_S)
    require_no_writer(volume, besides)


def remove_directory(volume: StoredVolume) -> None:
    """Remove what a volume holds; blocks. Raises OSError."""
    doomed = volume.data.with_name(f".{volume.data.name}.removed")
    if volume.data.is_dir():
        volume.data.rename(doomed)
    if doomed.is_dir():
        remove_tree(doomed)


def remove_tree(path: Path) -> None:
    """Remove a directory, however deep it goes; blocks. Raises OSError.

    A container makes deeper ones than shutil.rmtree of Python 3.11 and 3.12 can call itself.
    rm follows no links; only root may write in the directory above.
    """
    done = subprocess.run(
        ["rm", "-rf", "--", str(path)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise OSError(" ".join(done.stderr.split())[:200])


def kept_for_owner(volume: StoredVolume) -> StoredVolume:
    """Return the volume as one that belongs to no workspace."""
    return replace(volume, workspace="", generation="")
