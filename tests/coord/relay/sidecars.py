"""The processes that a test has started as the coordinator does, and what they have left."""

from __future__ import annotations

import itertools
from pathlib import Path

import psutil

from tests.kit.processes import running


def pids_of(module: str) -> list[int]:
    """Those of our children that run `module`."""
    return [child.pid for child in running(module, psutil.Process().children())]


def limit_leaving(left: int, pid: int) -> int:
    """The RLIMIT_NOFILE with which the process has so many descriptors left."""
    used = {int(path.name) for path in Path(f"/proc/{pid}/fd").iterdir()}
    unused = (number for number in itertools.count() if number not in used)
    return next(itertools.islice(unused, left, None))
