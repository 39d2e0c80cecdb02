"""The directory of what an endpoint remembers of a root: old versions, its index.

It is in the user's state directory. A lock in it holds a root for one sync at a time.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import select
import signal
import stat
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from blake3 import blake3

from kled_sync.files.root import sync_home
from kled_sync.tree.paths import is_below
from kled_wire.errors import ConflictError, UnavailableError

_KEY_BYTES: Final = 10
_LOCK_S: Final = 5.0
# What a copy that was cut off has left ends by itself by then, unless it is stopped.
_ENDING_S: Final = 1.0
_PAUSE_S: Final = 0.05
# What a rule means otherwise than as it is written.
_MARKS: Final = re.compile(rb"[\\*?\[\] ]")


def root_key(path: bytes) -> str:
    """The name of a root among others."""
    return blake3(path).hexdigest()[: 2 * _KEY_BYTES]


def state_rule(root: bytes, env: Mapping[str, str]) -> bytes:
    """A rule of gitignore(5) for the state of syncs, where that is in `root`; else nothing.

    What a sync does is written down there, and would be the next change.
    """
    state = os.path.realpath(os.fsencode(sync_home(env)))
    if not is_below(state, root) or b"\n" in state:
        return b""
    return b"\n/" + _MARKS.sub(rb"\\\g<0>", state[len(root) + 1 :]) + b"/\n"


def state_directory(path: bytes, env: Mapping[str, str]) -> Path:
    """The state directory of the root at `path`: made, and for its owner alone.

    Raises UnavailableError.
    """
    directory = sync_home(env) / "roots" / root_key(path)
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.chmod(0o700)
        (directory / "root").write_bytes(path + b"\n")
    except OSError as exc:
        raise UnavailableError(
            "sync_state_unusable",
            f"{directory} cannot be used: {exc.strerror}",
            hint="make room on its disk, or set XDG_STATE_HOME to a directory you may write",
        ) from exc
    return directory


@contextlib.contextmanager
def held(state: Path, session: str, root: bytes) -> Iterator[None]:
    """Keep other syncs away from a root, and other continuous ones from what is in it and what
    it is in. Raises ConflictError("sync_root_busy").

    An endpoint of the same session, or one of a copy to which nobody writes any more, is what a
    connection that died has left: it is killed, since it may be stopped. Raises
    UnavailableError("sync_root_stuck") where it waits for a disk.
    """
    descriptor = os.open(state / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        began = time.monotonic()
        while not _take(descriptor, state, session, root):
            owner, theirs = _holder(descriptor)
            is_ours = bool(session) and theirs == session
            if not is_ours and (theirs or not _is_left(owner, descriptor)):
                raise ConflictError(
                    "sync_root_busy",
                    f"another sync has {os.fsdecode(root)} (process {owner or '?'})",
                    hint="kled sync list shows those of this machine",
                )
            waited_s = time.monotonic() - began
            if waited_s > _LOCK_S:
                raise UnavailableError(
                    "sync_root_stuck",
                    f"process {owner} of an earlier connection does not end",
                    hint="it may wait for a disk or a network filesystem",
                )
            if is_ours or waited_s > _ENDING_S:
                with contextlib.suppress(ProcessLookupError, ValueError):
                    os.kill(int(owner), signal.SIGKILL)
            time.sleep(_PAUSE_S)
        yield
    finally:
        os.close(descriptor)


def _take(descriptor: int, state: Path, session: str, root: bytes) -> bool:
    """Whether the lock is ours now. Raises ConflictError where an overlapping root is held."""
    with _one_at_a_time(state.parent):
        if not try_lock(descriptor):
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


def _is_left(owner: str, lock: int) -> bool:
    """Whether the process `owner` has the lock, and the pipe that it reads has no writer any more.

    False where that is not known: there is proc(5) on Linux alone.
    """
    with contextlib.suppress(OSError):
        descriptors = Path("/proc") / str(int(owner or 0)) / "fd"
        if not any(_is_open_at(path, lock) for path in descriptors.iterdir()):
            return False
        if not stat.S_ISFIFO((descriptors / "0").stat().st_mode):
            return False
        read = os.open(descriptors / "0", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            poll = select.poll()
            poll.register(read, 0)
            return any(event & select.POLLHUP for _, event in poll.poll(0))
        finally:
            os.close(read)
    return False


def _is_open_at(path: Path, descriptor: int) -> bool:
    """Whether `path` is the file of `descriptor`."""
    with contextlib.suppress(OSError):
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    return False


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
        return "" if try_lock(descriptor) else _holder(descriptor)[1]
    finally:
        os.close(descriptor)


def try_lock(descriptor: int) -> bool:
    """Whether the file, or directory, is locked by us now, as flock(2) has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
