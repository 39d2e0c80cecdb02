"""Reads files of a run's directory to which the template's programs could write.

They may have put anything into it: a link to a file of the coordinator's, a FIFO that nobody writes
to, a file that fills the memory. They may have closed a directory to us (chmod(1)), or put one
where a file was. So each directory of the path is opened without following links, below the one
before, and made ours again; nothing but a regular file of a bounded size is read.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from kled_wire.limits import STATE_MAX_BYTES
from kled_wire.trees import opened_directory

# A state may be too large for the coordinator's own backend, and is kept all the same.
MAX_BYTES: Final = 4 * STATE_MAX_BYTES
# There is no such file, or something else is in its place.
_NOT_THERE: Final = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENXIO}


def read_file(directory: Path, name: str) -> bytes | None:
    """Read the file `name`, a path below `directory`; None where it is not one. Blocks.

    `directory` itself is ours. Raises OSError, also where the file is over MAX_BYTES.
    """
    try:
        with _parent(directory, name) as (parent, last):
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
            number = os.open(last, flags, dir_fd=parent)
    except OSError as error:
        if error.errno in _NOT_THERE:
            return None
        raise
    found = os.fstat(number)
    if not stat.S_ISREG(found.st_mode):
        os.close(number)
        return None
    with os.fdopen(number, "rb") as file:
        if found.st_size > MAX_BYTES:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), name)
        return file.read(MAX_BYTES)


def remove_file(directory: Path, name: str) -> None:
    """Remove the file `name`, a path below `directory`, where there is one. Raises OSError."""
    try:
        with _parent(directory, name) as (parent, last):
            os.unlink(last, dir_fd=parent)
    except OSError as error:
        if error.errno not in _NOT_THERE:
            raise


def make_directory(directory: Path, name: str) -> Path:
    """Make the directory `name` in `directory`, whatever is there but one. Raises OSError."""
    path = directory / name
    directory.chmod(0o700)
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        path.mkdir(mode=0o700)
    return path


def read_sources(directory: Path) -> dict[str, bytes]:
    """The files right in a directory, by name. Blocks; raises OSError."""
    found = {path.name: read_file(directory, path.name) for path in sorted(directory.iterdir())}
    return {name: content for name, content in found.items() if content is not None}


@contextmanager
def _parent(directory: Path, name: str) -> Iterator[tuple[int, str]]:
    """Give the opened directory of a file, and the file's name in it."""
    *above, last = Path(name).parts
    opened = None
    with ExitStack() as stack:
        for part in (str(directory), *above):
            opened = stack.enter_context(opened_directory(part, opened))
        assert opened is not None
        yield opened, last
