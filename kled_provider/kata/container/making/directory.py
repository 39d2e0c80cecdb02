"""The files that a container gets besides its image: names, secrets, small files.

All are below one directory for each container, in the runtime directory, which a boot empties.
Secrets are on tmpfs: where that directory is on a disk, a tmpfs is mounted in it.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kled_provider.host import HostError
from kled_provider.plugin.values import Values, settled

_TMPFS: Final = "tmpfs"
_TMPFS_MAGIC: Final = 0x01021994  # linux/magic.h
_STATFS_BYTES: Final = 256  # struct statfs, which begins with the type, has 120 on 64-bit machines
_LIBC = ctypes.CDLL(None, use_errno=True)
_MOUNT_S: Final = 10


@dataclass(frozen=True, slots=True)
class ContainerDirectory:
    """Where a container's files are."""

    path: Path
    secrets: Path

    def write_etc(self, texts: Mapping[str, str]) -> dict[str, Path]:
        """Write files of /etc of the container; gives where, by path there."""
        etc = self.path / "etc"
        etc.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (etc / name).write_text(text)
            (etc / name).chmod(0o644)
        return {f"/etc/{name}": etc / name for name in texts}

    def write_secrets(self, files: Mapping[str, bytes]) -> None:
        """Write the files that only the container's root may read."""
        ensure_tmpfs(self.secrets.parent)
        self.secrets.mkdir(mode=0o700, exist_ok=True)
        for name, data in files.items():
            _write(self.secrets / name, data, 0o400)

    def write_upload(self, index: int, data: bytes, mode: int) -> Path:
        """Write a small file; gives where."""
        uploads = self.path / "uploads"
        uploads.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write(uploads / str(index), data, mode)
        return uploads / str(index)

    def keep(self, values: Values) -> None:
        """Keep what a template said, for an import. It may hold secrets, so it is on tmpfs."""
        ensure_tmpfs(self.secrets.parent)
        _write(self._kept, json.dumps(settled(values), default=str).encode(), 0o400)

    def kept(self) -> Values | None:
        """What a template said; None where that is not known any more."""
        try:
            found = json.loads(self._kept.read_bytes())
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    @property
    def _kept(self) -> Path:
        return self.secrets.with_name(f"{self.secrets.name}.json")

    def remove(self) -> None:
        """Remove all of it; nothing there is no error."""
        self._kept.unlink(missing_ok=True)
        for path in (self.path, self.secrets):
            if path.exists():
                shutil.rmtree(path)


def container_directory(runtime_directory: str, container: str) -> ContainerDirectory:
    """Say where a container's files are."""
    base = Path(runtime_directory)
    return ContainerDirectory(base / "containers" / container, base / "secrets" / container)


def recorded_directories(run_directory: str, prefix: str = "") -> Iterator[str]:
    """The containers that have a directory, or secrets, those whose ids begin so."""
    for kind in ("containers", "secrets"):
        for path in sorted(Path(run_directory, kind).glob(f"{prefix}*")):
            yield path.name.removesuffix(".json")  # what a template said, of `keep`


def ensure_tmpfs(directory: Path) -> None:
    """Make a directory that is in memory, whatever is below it. Raises HostError, OSError."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if _is_tmpfs(directory):
        return
    command = [
        "mount",
        "-t",
        _TMPFS,
        "-o",
        "mode=700,size=64m,nosuid,nodev",
        _TMPFS,
        str(directory),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_MOUNT_S)
    if done.returncode != 0:
        raise HostError(f"Cannot mount a tmpfs at {directory}: {done.stderr.strip()[:200]}")


def _is_tmpfs(directory: Path) -> bool:
    """Whether a directory is in memory: statfs(2), of which `os.statvfs` leaves out the type."""
    found = ctypes.create_string_buffer(_STATFS_BYTES)
    if _LIBC.statfs(os.fsencode(directory), found) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(directory))
    return ctypes.c_long.from_buffer(found).value == _TMPFS_MAGIC


def _write(path: Path, data: bytes, mode: int) -> None:
    """Write a file that nobody else sees before it has its mode."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        os.fchmod(descriptor, mode)
