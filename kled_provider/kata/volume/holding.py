"""Holds the lock of a container's volumes as long as its task runs: an OCI hook, and who it leaves.

Run as `python -I -S holding.py NAME=LOCK…`, by the OCI runtime as `createRuntime` hook
(https://github.com/opencontainers/runtime-spec/blob/main/config.md#posix-platform-hooks), with the
container's state as JSON on standard input. Every start of a task comes by here, those of
containerd's restart monitor too, and one whose volume another task writes does not start. The hook
leaves a process that has the locks (flock(2)) until the task's process (under Kata the VM's) ends:
whoever is killed, the lock is gone with the task and not before it.

Standard library alone: it stays as long as the task.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import sys
import time

IN_USE = 3  # the hook's exit code
_MAX_STATE_BYTES = 1 << 20
_LOOK_AGAIN_S = 0.05
_LOOKS = 40


def main() -> int:
    """Take the locks and leave their holder; returns the hook's exit code."""
    state = json.loads(sys.stdin.buffer.read(_MAX_STATE_BYTES))
    locks = []
    for word in sys.argv[1:]:
        name, _, path = word.partition("=")
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        if not _take(lock):
            holder = os.pread(lock, 200, 0).decode("utf-8", "replace")
            sys.stderr.write(f"volume {name} is in use by container {holder}\n")
            return IN_USE
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(state["id"]).encode(), 0)
        locks.append(lock)
    task = os.pidfd_open(int(state["pid"]))
    if os.fork() == 0:
        _hold(task, locks)
    return 0


def _take(lock: int) -> bool:
    """Take a lock. Who held it for a task that has ended needs a moment to let go."""
    for _ in range(_LOOKS):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_LOOK_AGAIN_S)
        else:
            return True
    return False


def _hold(task: int, locks: list[int]) -> None:
    """Stay until the task ends, out of the hook's session and without its pipes."""
    os.setsid()
    os.chdir("/")
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    poll = select.poll()
    poll.register(task, select.POLLIN)
    poll.poll()
    for lock in locks:
        os.ftruncate(lock, 0)
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
