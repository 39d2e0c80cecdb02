"""The directory in which an endpoint stages what arrives.

It must be in the destination's filesystem, so that files can be renamed into place: in `.kled-sync`
beside the root where we may write there, else inside it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from typing import Final

from kled_sync.files.closed import ClosedDirectories
from kled_sync.files.places import root_key, try_lock
from kled_sync.files.root import DIRECTORY_FLAGS, Root
from kled_sync.ignore.rules import RULES_FILE
from kled_sync.tree.paths import ROOT, STAGING_NAME
from kled_wire.errors import UnavailableError
from kled_wire.trees import empty_directory

_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
# How the directory of a transient root is called, and when it is not new any more.
_TRANSIENT: Final = b"once-"
_NEW_S: Final = 60.0
_TRIES: Final = 10
_UNWRITABLE: Final = (errno.EACCES, errno.EPERM, errno.EROFS)


@contextlib.contextmanager
def staging(root: Root, closed: ClosedDirectories, *, transient: bool = False) -> Iterator[int]:
    """A descriptor of a private directory in the root's filesystem; of a transient root nothing of
    it stays. Raises UnavailableError.
    """
    name = _TRANSIENT + os.urandom(8).hex().encode() if transient else root_key(root.path).encode()
    try:
        is_inside, outer, descriptor = _open_staging(root, closed, name)
    except OSError as exc:
        raise UnavailableError(
            "sync_staging_unusable",
            f"nothing can be staged for {os.fsdecode(root.path)}: {exc.strerror}",
            hint="the folder, or the one it is in, must be writable",
        ) from exc
    try:
        if transient:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            _sweep(outer)
        yield descriptor
    finally:
        if transient:
            clear_staging(descriptor, frozenset())
            with contextlib.suppress(OSError):
                os.rmdir(name, dir_fd=outer)
            if is_inside:
                with contextlib.suppress(OSError), closed.opened(ROOT):
                    _remove_bare(root.directory(ROOT), outer)
            else:
                _remove_bare(root.above, outer)
        os.close(descriptor)
        os.close(outer)


def _open_staging(root: Root, closed: ClosedDirectories, name: bytes) -> tuple[bool, int, int]:
    """Whether the directory for staging is in the root, that, and the one called `name` in it."""
    device = root.device()
    if device is None or os.fstat(root.above).st_dev == device:
        try:
            return False, *_make_staging(root.above, name)
        except OSError as exc:
            found = root.stat(ROOT)
            if found is None or not stat.S_ISDIR(found.st_mode) or exc.errno not in _UNWRITABLE:
                raise  # there is no other directory
    with closed.opened(ROOT):
        return True, *_make_staging(root.directory(ROOT), name)


def _make_staging(above: int, name: bytes) -> tuple[int, int]:
    for attempt in range(_TRIES):
        outer = private_directory(STAGING_NAME, above)
        try:
            _write_rules(outer)
            return outer, private_directory(name, outer)
        except BaseException as exc:
            os.close(outer)
            # Another has just removed it, as bare.
            if not isinstance(exc, FileNotFoundError) or attempt == _TRIES - 1:
                raise
    raise AssertionError


def _write_rules(outer: int) -> None:
    """Let git not see what is staged. Raises OSError."""
    with contextlib.suppress(FileExistsError):
        rules = os.open(RULES_FILE, _NEW, 0o600, dir_fd=outer)
        os.write(rules, b"*\n")
        os.close(rules)


def _remove_bare(above: int, outer: int) -> None:
    """Take the directory for staging away, unless somebody stages in it."""
    with contextlib.suppress(OSError):
        if [os.fsencode(name) for name in os.listdir(outer)] != [RULES_FILE]:
            return
        os.unlink(RULES_FILE, dir_fd=outer)
        try:
            os.rmdir(STAGING_NAME, dir_fd=above)
        except OSError:
            _write_rules(outer)


def _sweep(outer: int) -> None:
    """Remove what transient roots have left whose process was killed."""
    for text in os.listdir(outer):
        name = os.fsencode(text)
        if not name.startswith(_TRANSIENT):
            continue
        with contextlib.suppress(OSError):
            descriptor = os.open(name, DIRECTORY_FLAGS, dir_fd=outer)
            try:
                # One that is new may not be locked yet.
                if os.fstat(descriptor).st_mtime < time.time() - _NEW_S and try_lock(descriptor):
                    clear_staging(descriptor, frozenset())
                    os.rmdir(name, dir_fd=outer)
            finally:
                os.close(descriptor)


def private_directory(name: bytes | os.PathLike[str], above: int | None = None) -> int:
    """A directory of ours alone, whoever else may write where it is. Raises OSError."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=above)
    descriptor = os.open(name, DIRECTORY_FLAGS, dir_fd=above)
    found = os.fstat(descriptor)
    if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
        os.close(descriptor)
        raise PermissionError(1, "it is not ours alone", os.fsdecode(name))
    return descriptor


def clear_staging(descriptor: int, keep: frozenset[bytes]) -> None:
    """Remove what an earlier run left, except `keep`."""
    with contextlib.suppress(OSError):
        empty_directory(descriptor, frozenset(map(os.fsdecode, keep)))
