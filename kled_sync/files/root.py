"""The root of one side, and descriptors of the directories below it.

Every directory is opened from the one above it and never through a link, so that whatever is
renamed or linked meanwhile, nothing outside the root is met (openat(2), O_NOFOLLOW). The root
itself is known by its parent and its name: it may be a file, and it may be missing.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Self

from kled_sync.files.options import Options
from kled_sync.tree.paths import ROOT, split
from kled_wire.errors import InputError, NotFoundError

DIRECTORY_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# A FIFO that took a file's place must not hold us up.
FILE_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_OPEN_MAX: Final = 64
_PLAIN: Final = Options()


class Root:
    """One folder or file. Blocks; for one thread."""

    def __init__(self, path: bytes, options: Options = _PLAIN) -> None:
        """Raises InputError("sync_root_invalid"), NotFoundError("file_not_found")."""
        path = _at_home(path or b".")
        # Whether the root is in the directory that `path` is.
        self.is_inside = bool(options.into) and os.path.isdir(path)
        if self.is_inside:
            path = os.path.join(path, options.into)
        real = os.path.realpath(path) if options.follow else _real_link(path)
        if real == b"/" and not options.only:
            raise InputError("sync_root_invalid", "the whole filesystem is no folder to sync")
        self.path = real
        above, name = os.path.split(real)
        self.name = name or b"."
        try:
            if not (options.reads_only or options.transient):
                os.makedirs(above, exist_ok=True)
            self.above = os.open(above, DIRECTORY_FLAGS)
        except FileNotFoundError as exc:
            text = f"{os.fsdecode(above)}: {exc.strerror}"
            raise NotFoundError("file_not_found", text) from exc
        except FileExistsError as exc:
            text = f"{os.fsdecode(above)} is not a directory"
            raise InputError("sync_root_invalid", text) from exc
        except OSError as exc:
            text = f"{os.fsdecode(above)} cannot be opened: {exc.strerror}"
            raise InputError("sync_root_invalid", text) from exc
        self._open: OrderedDict[bytes, int] = OrderedDict()
        # The one that was asked for last, which most often is asked for again.
        self._last: tuple[bytes, int] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of every descriptor."""
        self.forget()
        os.close(self.above)

    def forget(self) -> None:
        """Open directories anew from now on: they may have been moved meanwhile."""
        for descriptor in self._open.values():
            os.close(descriptor)
        self._open.clear()
        self._last = None

    def directory(self, path: bytes) -> int:
        """A descriptor of the directory at `path`, ours until `forget`. Raises OSError."""
        if self._last is not None and self._last[0] == path:
            return self._last[1]
        found = self._open.get(path)
        if found is None:
            found = self._open_directory(path)
        else:
            self._open.move_to_end(path)
        self._last = path, found
        return found

    def _open_directory(self, path: bytes) -> int:
        if path == ROOT:
            opened = os.open(self.name, DIRECTORY_FLAGS, dir_fd=self.above)
        else:
            above, name = split(path)
            opened = os.open(name, DIRECTORY_FLAGS, dir_fd=self.directory(above))
        self._open[path] = opened
        if len(self._open) > _OPEN_MAX:
            _, oldest = self._open.popitem(last=False)
            os.close(oldest)
        return opened

    def locate(self, path: bytes) -> tuple[int, bytes]:
        """The descriptor of the directory that `path` is in, and its name there. Raises OSError."""
        if path == ROOT:
            return self.above, self.name
        directory, name = split(path)
        return self.directory(directory), name

    def stat(self, path: bytes) -> os.stat_result | None:
        """What is at `path`, a link itself; None where nothing is. Raises OSError."""
        try:
            descriptor, name = self.locate(path)
            return os.stat(name, dir_fd=descriptor, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def open_file(self, path: bytes) -> int:
        """A descriptor to read the regular file at `path`. Raises OSError."""
        return self.open_seen(path)[0]

    def open_seen(self, path: bytes) -> tuple[int, os.stat_result]:
        """The same, and what the file is like before anything of it was read."""
        descriptor, name = self.locate(path)
        opened = os.open(name, FILE_FLAGS, dir_fd=descriptor)
        found = os.fstat(opened)
        if not stat.S_ISREG(found.st_mode):
            os.close(opened)
            raise FileNotFoundError(2, "it is no regular file any more", name)
        return opened, found

    def read_link(self, path: bytes) -> bytes | None:
        """What the link at `path` says; None where nothing, or something else, is."""
        try:
            descriptor, name = self.locate(path)
            return os.readlink(name, dir_fd=descriptor)
        except OSError as exc:
            if exc.errno in {errno.ENOENT, errno.ENOTDIR, errno.EINVAL}:
                return None
            raise

    def is_in_place(self) -> bool:
        """Whether `path` leads to what was opened: the directory above may have been moved, or its
        filesystem unmounted.
        """
        try:
            there = os.stat(os.path.dirname(self.path), follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:  # as it was opened, it may be looked at no more
            return True
        return os.path.samestat(there, os.fstat(self.above))

    def device(self) -> int | None:
        """The filesystem that the root is in; None where it is not there."""
        found = self.stat(ROOT)
        return found.st_dev if found is not None else None


def _at_home(path: bytes) -> bytes:
    """With the home directory that it begins with. Raises NotFoundError("file_not_found")."""
    found = os.path.expanduser(path)
    if found.startswith(b"~"):
        user = os.fsdecode(path.partition(b"/")[0])
        raise NotFoundError(
            "file_not_found", f"{user}: no such user there", hint="./~ is a name that begins so"
        )
    return found


def _real_link(path: bytes) -> bytes:
    """Without links on the way to it, of which the last part may be one."""
    above, name = os.path.split(path)
    return os.path.join(os.path.realpath(above or b"."), name)


def sync_home(env: Mapping[str, str]) -> Path:
    """Where syncs keep their state, both sides of them (XDG Base Directory Specification)."""
    given = env.get("XDG_STATE_HOME", "")
    state = Path(given) if given.startswith("/") else Path.home() / ".local" / "state"
    return state / "kled" / "sync"
