"""A small bundle: the files that a bundle store looks for, without an agent."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
from pathlib import Path
from typing import Any

MACHINES = {"amd64": 62, "arm64": 183}


def launcher(architecture: str) -> bytes:
    """The head of an ELF file (elf(5))."""
    return b"\x7fELF" + bytes(14) + struct.pack("<H", MACHINES[architecture]) + bytes(40)


def write_bundle(path: Path, architecture: str = "amd64", **files: Any) -> Path:
    """Write a .tar.gz to `path`; `files` replace, or as None remove, what a bundle has."""
    held = {
        "bin/kled-agent": launcher(architecture),
        "lib/python3.11/kled-0.1.0.dist-info/METADATA": b"Name: kled\n",
        **files,
    }
    # No time in the head of gzip (RFC 1952): the same files give the same digest in any second.
    with (
        gzip.GzipFile(path, "wb", mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as tar,
    ):
        for inside, data in held.items():
            if data is not None:
                entry = tarfile.TarInfo(f"kled-agent/{inside}")
                entry.size, entry.mode = len(data), 0o755
                tar.addfile(entry, io.BytesIO(data))
    return path
