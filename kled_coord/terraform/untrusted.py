"""Files in a run's directory after the template's programs have been there.

They may have put anything into it: a link to a file of the coordinator's, a FIFO that nobody writes
to. So each directory on the way is opened without following links, below the one before, and
nothing but a regular file is read.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

# There is no such file, or something else is in its place.
_NOT_THERE: Final = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO}


def read_file(directory: Path, name: str) -> bytes | None:
    """Read the file `name`, a path below `directory`; None where it is not one. Blocks.

    `directory` itself is ours. Raises OSError.
    """
    try:
        with _parent(directory, name) as (parent, last):
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
            number = os.open(last, flags, dir_fd=parent)
            if not stat.S_ISREG(os.fstat(number).st_mode):
                os.close(number)
                return None
            with os.fdopen(number, "rb") as file:
                return file.read()
    except OSError as error:
        if error.errno in _NOT_THERE:
            return None
        raise


def remove_file(directory: Path, name: str) -> None:
    """Remove the file `name`, a path below `directory`, where there is one. Raises OSError."""
    try:
        with _parent(directory, name) as (parent, last):
            os.unlink(last, dir_fd=parent)
    except OSError as error:
        if error.errno not in _NOT_THERE:
            raise


@contextmanager
def _parent(directory: Path, name: str) -> Iterator[tuple[int, str]]:
    """Give the opened directory of a file, and the file's name in it."""
    *above, last = Path(name).parts
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
    with ExitStack() as stack:
        opened = os.open(directory, flags)
        stack.callback(os.close, opened)
        for part in above:
            opened = os.open(part, flags, dir_fd=opened)
            stack.callback(os.close, opened)
        yield opened, last
