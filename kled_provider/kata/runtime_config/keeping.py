"""Keeps a workspace's configuration on disk: written whole or not at all, 0644, no links.

Its first line is a comment with a record: who made it, and what the template says, from which
`terraform import` makes the state.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from kled_provider.kata.runtime_config.reading import FILE_BYTES

MODE: Final = 0o644
_MARK: Final = "# Made by Kled, which undoes changes: "
_WALK: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptConfig:
    """A file as found. `record` is empty where its first line is not ours."""

    record: dict[str, Any]
    text: str
    is_plain: bool  # of root or us, with the right mode


def find_config(path: Path) -> KeptConfig | None:
    """Read a configuration; None where there is none, or something that is no file."""
    try:
        with _opened(path.parent, make=False) as directory:
            descriptor = os.open(
                path.name,
                os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC,
                dir_fd=directory,
            )
    except OSError:  # also a link in its place
        return None
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            return None
        first, _, rest = file.read(2 * FILE_BYTES).decode("utf-8", "replace").partition("\n")
    is_plain = stat.S_IMODE(found.st_mode) == MODE and found.st_uid == os.geteuid()
    return KeptConfig(record=_record(first), text=rest, is_plain=is_plain)


def keep_config(path: Path, record: dict[str, Any], text: str) -> None:
    """Write a configuration; another program sees the old one or the new one. Raises OSError."""
    line = json.dumps(record, default=float)
    data = f"{_MARK}{line}\n{text}".encode()
    temporary = f".{path.name}.{secrets.token_hex(8)}"
    with _opened(path.parent, make=True) as directory:
        descriptor = os.open(
            temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=directory
        )
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fchmod(descriptor, MODE)
                os.fsync(descriptor)
            os.rename(temporary, path.name, src_dir_fd=directory, dst_dir_fd=directory)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=directory)
            raise
        os.fsync(directory)


def remove_config(path: Path, *, with_directory: bool) -> None:
    """Remove a configuration, and its directory if nothing else is there. Raises OSError."""
    try:
        with _opened(path.parent, make=False) as directory:
            os.unlink(path.name, dir_fd=directory)
    except FileNotFoundError:
        pass
    if with_directory:
        with contextlib.suppress(OSError):
            path.parent.rmdir()


@contextlib.contextmanager
def _opened(directory: Path, *, make: bool) -> Iterator[int]:
    """Open a directory component by component, following no link. Raises OSError."""
    descriptor = os.open("/", _WALK)
    try:
        for part in directory.parts[1:]:
            if make:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, 0o755, dir_fd=descriptor)
            inner = os.open(part, _WALK, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = inner
        yield descriptor
    finally:
        os.close(descriptor)


def _record(line: str) -> dict[str, Any]:
    try:
        found = json.loads(line.removeprefix(_MARK), parse_float=Decimal)
    except (ValueError, RecursionError):
        return {}
    return found if line.startswith(_MARK) and isinstance(found, dict) else {}
