"""The cgroups of containers: what the kernel knows of one that containerd may have forgotten.

A containerd or shim that is killed while it creates a task can leave the task's processes behind
(containerd 2 ends such a shim as leaked, and its create goes on). They hold the locks of volumes
(volume/holding.py) for good, and only the cgroup still says whose they are. cgroups(7), versions 1
and 2.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import trio

_CGROUPS: Final = Path("/sys/fs/cgroup")
_ENDED_S: Final = 5.0
_LOOK_AGAIN_S: Final = 0.02


def recorded_cgroups(namespace: str, prefix: str = "") -> Iterator[str]:
    """The containers that have a cgroup, those whose ids begin so."""
    for parent in _parents(namespace):
        with suppress(FileNotFoundError):
            yield from (path.name for path in parent.glob(f"{prefix}*") if path.is_dir())


async def end_cgroups(namespace: str, container: str) -> None:
    """Kill the processes that are left of a container, and remove its cgroups.

    One that is gone is no error, one that does not go is left.
    """
    places = [parent / container for parent in _parents(namespace)]
    with trio.move_on_after(_ENDED_S):
        # A process ends a moment after its signal, and nothing else tells.
        while places := [place for place in places if not _remove(place)]:  # noqa: ASYNC110
            await trio.sleep(_LOOK_AGAIN_S)


def _remove(place: Path) -> bool:
    """Remove a cgroup; False: processes of it are ending."""
    try:
        place.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        with suppress(OSError, ValueError):
            for pid in (place / "cgroup.procs").read_text(encoding="ascii").split():
                if int(pid) > 0:  # 0 is one of a PID namespace that we do not see; for kill(2), us
                    os.kill(int(pid), signal.SIGKILL)
        return False
    return True


def counts_oom(namespace: str, container: str) -> bool:
    """Whether the kernel has killed a process of the container's cgroup for memory."""
    for parent, name in (("memory", "memory.oom_control"), ("", "memory.events")):
        with suppress(OSError):
            text = (_CGROUPS / parent / namespace / container / name).read_text(encoding="ascii")
            lines = text.splitlines()
            return any(line.startswith("oom_kill ") and not line.endswith(" 0") for line in lines)
    return False


def _parents(namespace: str) -> Iterator[Path]:
    """Where a namespace's containers have theirs: in the one hierarchy, or in each."""
    for path in (_CGROUPS, *_CGROUPS.iterdir()):
        if (path / namespace).is_dir():
            yield path / namespace
