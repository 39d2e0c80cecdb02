"""The bundles of this coordinator: files below its data directory, named by their hash.

A bundle stays once it is there, because a machine may boot with a script of last month. The newest
of an architecture is the one that new scripts name.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tarfile
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kled_coord.bundles.script import SCRIPT_NAME, render_script
from kled_wire.errors import InputError, NotFoundError

# A bundle has 18 MB and some 800 entries (docs/bundle.md).
# How long a client may keep one: its name is its hash.
FOREVER: Final = "public, max-age=31536000, immutable"
_SIZE_MAX: Final = 128 * 1024 * 1024
_ENTRIES_MAX: Final = 10_000
_LAUNCHER: Final = "kled-agent/bin/kled-agent"
_METADATA: Final = re.compile(
    r"kled-agent/lib/python[0-9.]+/kled-([0-9A-Za-z.+]+)\.dist-info/METADATA"
)
# elf(5): e_machine, at byte 18, little-endian on both.
_ELF: Final = b"\x7fELF"
_MACHINES: Final = {62: "amd64", 183: "arm64"}
_NAME: Final = re.compile(r"(amd64|arm64)-([0-9a-f]{64})\.tar\.gz")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """One bundle. `version` is kled's; `size` in bytes; `added` in seconds since the epoch."""

    architecture: str
    digest: str
    path: Path
    size: int
    added: float
    version: str = ""


class BundleStore:
    """The bundles below `directory`, which need not be there."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def add(self, file: Path) -> Bundle:
        """Keep a copy of `file`, which becomes the newest.

        Raises InputError("bundle_invalid"), OSError.
        """
        architecture, version = _inspect(file)
        self._directory.mkdir(mode=0o700, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=self._directory, delete=False) as copy:
            try:
                with file.open("rb") as source:
                    shutil.copyfileobj(source, copy)
                copy.flush()
                os.fsync(copy.fileno())
                # Hashes the copy, so that the hash is that of what is served.
                digest = _hash(Path(copy.name))
                target = self._directory / f"{architecture}-{digest}.tar.gz"
                Path(copy.name).replace(target)
            except BaseException:
                Path(copy.name).unlink(missing_ok=True)
                raise
        found = target.stat()
        return Bundle(
            architecture=architecture,
            digest=digest,
            path=target,
            size=found.st_size,
            added=found.st_mtime,
            version=version,
        )

    def list(self) -> list[Bundle]:
        """All of them, the newest first."""
        found = []
        for path in self._directory.glob("*.tar.gz"):
            if name := _NAME.fullmatch(path.name):
                status = path.stat()
                found.append(
                    Bundle(
                        architecture=name[1],
                        digest=name[2],
                        path=path,
                        size=status.st_size,
                        added=status.st_mtime,
                    )
                )
        return sorted(found, key=lambda bundle: (-bundle.added, bundle.digest))

    def newest(self) -> dict[str, str]:
        """The hash of the newest bundle of each architecture that there is one for."""
        return {bundle.architecture: bundle.digest for bundle in reversed(self.list())}

    def find(self, digest: str) -> Bundle | None:
        """The bundle of that hash."""
        return next((bundle for bundle in self.list() if bundle.digest == digest), None)


def look_up(bundles: BundleStore, name: str, access_url: str) -> str | Bundle:
    """What stands at /bin/NAME: a bundle by its hash, or the script that fetches the newest.

    Reads the directory. Raises NotFoundError("bundle_unknown").
    """
    if name == SCRIPT_NAME:
        return render_script(access_url, bundles.newest(), {}, "")
    found = bundles.find(name)
    if found is None:
        raise NotFoundError(
            "bundle_unknown",
            f"there is no bundle {name[:64]!r} here",
            hint="kled-coord bundle list shows those that there are",
        )
    return found


def _inspect(file: Path) -> tuple[str, str]:
    """The architecture and version of a bundle. Raises InputError, OSError."""
    if file.stat().st_size > _SIZE_MAX:
        raise _invalid(file, f"it is over {_SIZE_MAX // 2**20} MiB")
    architecture = version = None
    try:
        with tarfile.open(file, "r:gz") as tar:
            for count, entry in enumerate(tar):
                if count >= _ENTRIES_MAX:
                    raise _invalid(file, f"it has over {_ENTRIES_MAX} entries")
                if entry.name == _LAUNCHER and (launcher := tar.extractfile(entry)):
                    head = launcher.read(20)
                    machine = int.from_bytes(head[18:20], "little") if head[:4] == _ELF else 0
                    architecture = _MACHINES.get(machine)
                if found := _METADATA.fullmatch(entry.name):
                    version = found[1]
    except (tarfile.TarError, EOFError, zlib.error, ValueError) as exc:
        raise _invalid(file, f"it is no whole .tar.gz ({exc})") from exc
    if architecture is None or version is None:
        raise _invalid(file, f"it has no {_LAUNCHER} for amd64 or arm64")
    return architecture, version


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _invalid(file: Path, why: str) -> InputError:
    return InputError(
        "bundle_invalid",
        f"{file} is no bundle of the agent: {why}",
        hint="scripts/build-agent-bundle makes one",
    )
