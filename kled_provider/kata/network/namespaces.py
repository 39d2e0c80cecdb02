"""Network namespaces with a name: made before the task, and gone after it (network_namespaces(7)).

A namespace lives as long as something holds it; here a bind mount at a path, as ip-netns(8) does.
The provider's own mounts have to be seen by containerd: it must not run in a mount namespace that
propagates none.
"""

from __future__ import annotations

import ctypes
import os
import threading
from pathlib import Path

import trio

_CLONE_NEWNET = 0x40000000  # linux/sched.h
_MS_BIND = 4096  # linux/mount.h
_MNT_DETACH = 2
_LIBC = ctypes.CDLL(None, use_errno=True)


async def make_namespace(place: Path) -> None:
    """Make a namespace at `place`; its loopback is down. Raises OSError.

    One that an unclean death left there is replaced.
    """
    remove_namespace(place)
    failures: list[OSError] = []

    def make() -> None:
        try:
            _make(place)
        except OSError as error:
            failures.append(error)

    # A thread of its own, which ends: unshare(2) is for the calling thread, and Trio's threads
    # go on to do other things.
    thread = threading.Thread(target=make, name="netns")
    thread.start()
    with trio.CancelScope(shield=True):  # milliseconds; what is half made nobody could remove
        await trio.to_thread.run_sync(thread.join)
    if failures:
        remove_namespace(place)
        raise failures[0]


def _make(place: Path) -> None:
    place.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    place.touch(mode=0o444, exist_ok=False)
    _check(_LIBC.unshare(_CLONE_NEWNET), place)
    _check(
        _LIBC.mount(b"/proc/thread-self/ns/net", os.fsencode(place), None, _MS_BIND, None), place
    )


def remove_namespace(place: Path) -> None:
    """Let go of the namespace at `place`; none there is no error. Raises OSError."""
    while not _LIBC.umount2(os.fsencode(place), _MNT_DETACH):
        pass
    place.unlink(missing_ok=True)


def _check(failed: int, place: Path) -> None:
    if failed:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(place))
