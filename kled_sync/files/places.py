"""The directories of an endpoint's own files: staged files, old versions, its index.

Staged files must be in the destination's filesystem, so that they can be renamed into place: beside
the root where we may write there, else in `.kled-sync` inside it. All else is in the user's state
directory. A lock there holds a root for one sync at a time.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import stat
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from blake3 import blake3

from kled_sync.files.root import DIRECTORY_FLAGS, Root, state_home
from kled_sync.tree.paths import ROOT, STAGING_NAME, is_below
from kled_wire.errors import ConflictError, UnavailableError

_KEY_BYTES: Final = 10
_LOCK_S: Final = 5.0
_PAUSE_S: Final = 0.05


def root_key(path: bytes) -> str:
    """The name of a root among others."""
    return blake3(path).hexdigest()[: 2 * _KEY_BYTES]


def state_directory(path: bytes, env: Mapping[str, str]) -> Path:
    """Of the root at `path`: made, and for its owner alone. Raises UnavailableError."""
    directory = state_home(dict(env)) / "kled" / "sync" / "roots" / root_key(path)
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.chmod(0o700)
        (directory / "root").write_bytes(path + b"\n")
    except OSError as exc:
        raise UnavailableError(
            "sync_state_unusable",
            f"{directory} cannot be used: {exc.strerror}",
            hint="set XDG_STATE_HOME to a directory you may write",
        ) from exc
    return directory


@contextlib.contextmanager
def held(state: Path, session: str, root: bytes) -> Iterator[None]:
    """Keep other syncs away from a root, and other continuous ones from what is in it and what
    it is in. Raises ConflictError("sync_root_busy").

    An endpoint of the same session is what a connection that died has left: it is ended.
    """
    descriptor = os.open(state / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + _LOCK_S
        while not _take(descriptor, state, session, root):
            owner, theirs = _holder(descriptor)
            if not session or theirs != session or time.monotonic() > deadline:
                raise ConflictError(
                    "sync_root_busy",
                    f"another sync has {os.fsdecode(root)} (process {owner or '?'})",
                    hint="kled sync list shows those of this machine",
                )
            with contextlib.suppress(ProcessLookupError, ValueError):
                os.kill(int(owner), signal.SIGTERM)
            time.sleep(_PAUSE_S)
        yield
    finally:
        os.close(descriptor)


def _take(descriptor: int, state: Path, session: str, root: bytes) -> bool:
    """Whether the lock is ours now. Raises ConflictError where an overlapping root is held."""
    with _one_at_a_time(state.parent):
        if not _try_lock(descriptor):
            return False
        if session:
            _check_apart(state, session, root)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()} {session}".encode(), 0)
        return True


def _holder(descriptor: int) -> tuple[str, str]:
    """The process that wrote a lock, and its session."""
    text = os.pread(descriptor, 200, 0).decode("utf-8", "replace")
    owner, _, session = text.partition(" ")
    return owner, session


@contextlib.contextmanager
def _one_at_a_time(roots: Path) -> Iterator[None]:
    """Of two that overlap and begin at once the second sees the first, and no look at a lock is
    taken for its holder.
    """
    descriptor = os.open(roots / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _check_apart(state: Path, session: str, root: bytes) -> None:
    """Raises ConflictError where another session has what is in `root`, or what it is in."""
    for path in state.parent.glob("*/root"):
        other = path.read_bytes().removesuffix(b"\n")
        if not (is_below(other, root) or is_below(root, other)):
            continue
        theirs = _session_at(path.with_name("lock"))
        if theirs and theirs != session:
            raise ConflictError(
                "sync_root_busy",
                f"another sync has {os.fsdecode(other)}, which overlaps {os.fsdecode(root)}",
                hint="kled sync list shows those of this machine",
            )


def _session_at(lock: Path) -> str:
    """The continuous session that holds it now; empty where none does."""
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return ""
    try:
        return "" if _try_lock(descriptor) else _holder(descriptor)[1]
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def open_staging(root: Root) -> int:
    """A descriptor of a private directory in the root's filesystem. Raises UnavailableError."""
    device = root.device()
    try:
        if device is None or os.fstat(root.above).st_dev == device:
            try:
                return _make_staging(root.above, root)
            except PermissionError:
                if device is None:
                    raise
        return _make_staging(root.directory(ROOT), root)
    except OSError as exc:
        raise UnavailableError(
            "sync_staging_unusable",
            f"nothing can be staged for {os.fsdecode(root.path)}: {exc.strerror}",
            hint="the folder, or the one it is in, must be writable",
        ) from exc


def _make_staging(above: int, root: Root) -> int:
    outer = _private(above, STAGING_NAME)
    try:
        with contextlib.suppress(FileExistsError):
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            rules = os.open(b".gitignore", flags, 0o600, dir_fd=outer)
            os.write(rules, b"*\n")
            os.close(rules)
        return _private(outer, root_key(root.path).encode())
    finally:
        os.close(outer)


def _private(above: int, name: bytes) -> int:
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
    for name in os.listdir(descriptor):
        if os.fsencode(name) not in keep:
            try:
                os.unlink(name, dir_fd=descriptor)
            except OSError:
                shutil.rmtree(name, ignore_errors=True, dir_fd=descriptor)
