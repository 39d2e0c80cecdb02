"""A tree of files with everything that copying gets wrong, and what it looks like."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

NAMES = (
    "plain",
    "with space",
    " leading and trailing ",
    "new\nline",
    "tab\there",
    "quote'\"`",
    "$HOME; echo *",
    "back\\slash",
    "-dash",
    "ünïcödé-日本語-🐙",
    "cafe\u0301",  # decomposed; the same to the eye as café
    "#hash%20",
    ".hidden",
)


def make_tree(root: Path, *, names: tuple[str, ...] = NAMES) -> None:
    """Fill `root`: odd names, an empty file and directory, links of both kinds, an exec bit."""
    root.mkdir()
    for number, name in enumerate(names):
        (root / name).write_bytes(name.encode() * (number * 5000 + 1))
        inner = root / f"{name} dir"
        inner.mkdir()
        (inner / name).write_text(name)
    (root / "empty file").touch()
    (root / "empty dir" / "inner").mkdir(parents=True)
    (root / "script").write_text("#!/bin/sh\n")
    (root / "script").chmod(0o755)
    (root / "private").write_text("p")
    (root / "private").chmod(0o600)
    (root / "link").symlink_to("plain")
    (root / "dangling").symlink_to("no such target")
    (root / "dir link").symlink_to("empty dir")
    os.link(root / "plain", root / "hard link")
    for path in (*root.rglob("*"), root):
        if not path.is_symlink():
            os.utime(path, (1_600_000_000, 1_600_000_000))


def describe(root: Path, *, links: bool = True) -> dict[str, tuple[object, ...]]:
    """What a copy must keep, by relative path. With `links`, hard links belong together."""
    inodes: dict[int, str] = {}
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        info = path.lstat()
        if path.is_symlink():
            found[name] = ("link", str(path.readlink()))
        elif path.is_dir():
            found[name] = ("dir", stat.S_IMODE(info.st_mode))
        else:
            first = inodes.setdefault(info.st_ino, name) if links else ""
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            found[name] = ("file", stat.S_IMODE(info.st_mode), int(info.st_mtime), digest, first)
    return found


# More than Python may call itself, with what has called it.
_LEVELS = 1500


def make_deep(directory: Path, levels: int = _LEVELS) -> None:
    """Make `directory`, with a directory in it, and so on, and a file in the last.

    The test must remove it: pytest cannot.
    """
    directory.mkdir()
    fd = os.open(directory, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("d", dir_fd=fd)
        below = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
    os.close(fd)
