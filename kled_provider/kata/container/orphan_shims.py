"""Ends shims that run on for a task which containerd has forgotten.

containerd finds its shims again by what stands in its state directory. Where that was lost, or a
kill came before it was written, the shim waits for ever for somebody to ask it. Whose it is stands
in its arguments, which containerd gives to every shim (runtime/v2/README.md, "start"): only one
with our containerd's address, our namespace and the id of a container of ours is ended.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Final

import trio

# The last argument of a shim's program that does one thing for containerd and then ends.
_ACTIONS: Final = ("start", "delete")
_ENDED_S: Final = 2.0
_LOOK_AGAIN_S: Final = 0.02


async def end_orphan_shims(address: str, namespace: str, container: str) -> None:
    """End the shims of a container that containerd has no task of, and what they have started.

    One is asked to end, so that it takes its socket away, and then killed. One that is gone is no
    error, one that does not go is left.
    """
    wanted = {"-address": address, "-namespace": namespace, "-id": container}
    for number in (signal.SIGTERM, signal.SIGKILL):
        shims = await trio.to_thread.run_sync(lambda: list(_find(wanted)))
        for pid in shims:
            with suppress(ProcessLookupError):
                # containerd makes each shim the leader of a group, in which its VM stays.
                (os.killpg if os.getpgid(pid) == pid else os.kill)(pid, number)
        with trio.move_on_after(_ENDED_S):
            while any(_is_of(pid, wanted) for pid in shims):  # noqa: ASYNC110 - nothing else tells
                await trio.sleep(_LOOK_AGAIN_S)
            return


def _find(wanted: dict[str, str]) -> Iterator[int]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and _is_of(int(entry.name), wanted):
            yield int(entry.name)


def _is_of(pid: int, wanted: dict[str, str]) -> bool:
    """Whether a process of ours was started with these flags. Of one that has ended it is not."""
    try:
        place = Path(f"/proc/{pid}")
        if place.stat().st_uid != os.geteuid():
            return False
        words = os.fsdecode((place / "cmdline").read_bytes()).rstrip("\0").split("\0")
    except OSError:
        return False
    return words[-1] not in _ACTIONS and wanted.items() <= dict(pairwise(words)).items()
