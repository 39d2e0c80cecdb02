"""Pack a directory so that equal contents give equal bytes (reproducible-builds.org)."""

from __future__ import annotations

import gzip
import tarfile
from pathlib import Path


def pack(tree: Path, packed: Path) -> None:
    """Write `tree` as a .tar.gz whose entries stand below `kled-agent/`, sorted, of nobody."""
    with (
        packed.open("wb") as raw,
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0, compresslevel=9) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.GNU_FORMAT) as tar,
    ):
        for path in sorted(tree.rglob("*")):
            tar.add(path, f"kled-agent/{path.relative_to(tree)}", recursive=False, filter=_plain)


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    executable = entry.isdir() or entry.mode & 0o100
    entry.mode = 0o755 if executable else 0o644
    entry.mtime = entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry
