"""Opens a path beneath one of the owner's allowed roots, without following a link.

A path is not checked and then used: between the two somebody who may write beneath a root could
put a link there. It is walked component by component, each opened below the descriptor of the one
before with O_NOFOLLOW (open(2)), and what is used from then on is the descriptor. There is no
`..`, so a walk never leaves its root.
"""

from __future__ import annotations

import enum
import errno
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

_WALK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_PATH_BYTES = 4095  # PATH_MAX of linux/limits.h, without its NUL


class PathRefusedError(Exception):
    """A path that may not be used. `message` says which and why, `hint` what to do."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class PathKind(enum.Enum):
    """What stands at a path."""

    DIRECTORY = "a directory"
    FILE = "a regular file"
    DEVICE = "a device"
    OTHER = "a socket, pipe or link"


@dataclass(frozen=True, slots=True)
class Beneath:
    """A path split at its root: `root` is the owner's word, `parts` the components below it."""

    root: str
    parts: tuple[str, ...]

    @property
    def path(self) -> str:
        """The whole path."""
        return "/".join((self.root.rstrip("/"), *self.parts)) or "/"


@dataclass(frozen=True, slots=True)
class Opened:
    """A descriptor opened with O_PATH: it names what was found, and neither reads nor writes."""

    fd: int
    kind: PathKind
    where: Beneath

    @property
    def handle(self) -> str:
        """A path that means exactly this descriptor, for this process (proc(5), /proc/PID/fd)."""
        return f"/proc/self/fd/{self.fd}"

    def reopen(self, flags: int = os.O_RDONLY) -> int:
        """Open the very same file for use. Raises OSError."""
        return os.open(self.handle, flags | os.O_CLOEXEC)


def split_beneath(path: str, roots: Iterable[str]) -> Beneath:
    """Find the root that a path lies beneath, by its words alone. Raises PathRefusedError.

    The longest root counts; the root itself lies beneath it.
    """
    shown = repr(path)
    if not path.startswith("/"):
        raise PathRefusedError(f"{shown} is not an absolute path")
    if "\0" in path or len(os.fsencode(path)) > _MAX_PATH_BYTES:
        raise PathRefusedError(f"{shown[:80]} is too long for a path, or holds a NUL byte")
    parts = tuple(part for part in path.split("/") if part not in ("", "."))
    if ".." in parts:
        raise PathRefusedError(f"{shown} has '..' in it", "Write the path without it.")
    allowed = tuple(roots)
    found = [root for root in allowed if parts[: len(_words(root))] == _words(root)]
    if not found:
        raise PathRefusedError(
            f"{shown} is not beneath a path that this machine's owner allows",
            f"Allowed are {', '.join(allowed)}." if allowed else "No path is allowed here.",
        )
    root = max(found, key=lambda candidate: len(_words(candidate)))
    return Beneath(root, parts[len(_words(root)) :])


def _words(root: str) -> tuple[str, ...]:
    return tuple(part for part in root.split("/") if part)


@contextmanager
def opened_beneath(path: str, roots: Iterable[str], *kinds: PathKind) -> Iterator[Opened]:
    """Open a path beneath the roots, of one of `kinds` (none given: of any but OTHER).

    Blocks, for no longer than a file system takes to look names up: nothing is opened for reading.
    Raises PathRefusedError.
    """
    where = split_beneath(path, roots)
    fd = _open_root(where.root)
    try:
        for position, part in enumerate(where.parts):
            below = _step(fd, part, where, is_last=position + 1 == len(where.parts))
            os.close(fd)
            fd = below
        opened = Opened(fd, _kind(fd), where)
        wanted = kinds or (PathKind.DIRECTORY, PathKind.FILE, PathKind.DEVICE)
        if opened.kind not in wanted:
            expected = " or ".join(kind.value for kind in wanted)
            raise PathRefusedError(f"{path!r} is {opened.kind.value}, not {expected}")
        yield opened
    finally:
        os.close(fd)


def _open_root(root: str) -> int:
    # The owner's own word: links in it are the owner's.
    try:
        return os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise PathRefusedError(
            f"the allowed path {root!r} cannot be opened: {error.strerror}",
            "The owner of this machine has to make it.",
        ) from error


def _step(fd: int, part: str, where: Beneath, *, is_last: bool) -> int:
    try:
        below = os.open(part, _WALK if is_last else _WALK | os.O_DIRECTORY, dir_fd=fd)
    except OSError as error:
        raise _refused(error, part, where) from error
    if stat.S_ISLNK(os.fstat(below).st_mode):
        os.close(below)
        raise PathRefusedError(
            f"{where.path!r}: {part!r} is a symbolic link, and none is followed",
            "Write the path that it leads to.",
        )
    return below


def _refused(error: OSError, part: str, where: Beneath) -> PathRefusedError:
    if error.errno == errno.ENOENT:
        return PathRefusedError(f"{where.path!r}: there is no {part!r}")
    if error.errno in (errno.ENOTDIR, errno.ELOOP):
        # open(2) says ENOTDIR of a link too, where O_PATH, O_NOFOLLOW and O_DIRECTORY are given.
        return PathRefusedError(
            f"{where.path!r}: {part!r} is no directory; symbolic links are not followed"
        )
    return PathRefusedError(f"{where.path!r}: {part!r}: {error.strerror}")


def _kind(fd: int) -> PathKind:
    mode = os.fstat(fd).st_mode
    if stat.S_ISDIR(mode):
        return PathKind.DIRECTORY
    if stat.S_ISREG(mode):
        return PathKind.FILE
    if stat.S_ISBLK(mode) or stat.S_ISCHR(mode):
        return PathKind.DEVICE
    return PathKind.OTHER
