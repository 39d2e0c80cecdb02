"""A disk of our own that can be filled. Needs root."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

_BALLAST = "ballast"


@dataclass(frozen=True, slots=True)
class SmallDisk:
    """Mounted at `root`."""

    root: Path

    @contextlib.contextmanager
    def full(self) -> Iterator[None]:
        """Not a byte is free in the block, whoever asks."""
        ballast = self.root / _BALLAST
        with ballast.open("wb") as file:
            for size in (1 << 20, 4096, 1):
                with contextlib.suppress(OSError):
                    while os.write(file.fileno(), bytes(size)):
                        pass
            try:
                yield
            finally:
                ballast.unlink()


@contextlib.contextmanager
def small_disk(size_mib: int) -> Iterator[SmallDisk]:
    """A file system in memory of so many MiB; gone with what is on it at the block's end."""
    root = Path(tempfile.mkdtemp(prefix="kldisk"))
    options = f"size={size_mib}m,mode=0755"
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", root], check=True)
        try:
            yield SmallDisk(root)
        finally:
            # Lazily: who still has something open there keeps it, and nobody finds it.
            subprocess.run(["umount", "-l", root], check=True)
    finally:
        shutil.rmtree(root, ignore_errors=True)


@contextlib.contextmanager
def mounted(place: Path, size_mib: int = 64) -> Iterator[Path]:
    """A file system in memory at `place`, which is made; skips the test where none can be mounted.

    Nobody may have anything open there at the block's end.
    """
    place.mkdir(exist_ok=True)
    options = ["mount", "-t", "tmpfs", "-o", f"size={size_mib}m", "tmpfs", str(place)]
    why = why_no_disk()
    if why or subprocess.run(options, check=False, capture_output=True).returncode:
        pytest.skip(why or "a file system cannot be mounted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


def why_no_disk() -> str:
    """Why there can be none; empty where there can."""
    return "" if os.geteuid() == 0 and shutil.which("mount") else "mounting a disk needs root"
