"""Use and limits of our own control group: cgroups(7), versions 1 and 2.

A limit may be set on any group above ours; the tightest counts. In a container with a namespace of
its own our group is the root of what is mounted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path("/sys/fs/cgroup")
OURS: Final = Path("/proc/self/cgroup")
# Version 1 says "no limit" by a number near 2**63, cut to whole pages.
_NO_LIMIT: Final = 2**60


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The directories of our group and of those above it, ours first, for each kind of file."""

    version: int
    cpu: tuple[Path, ...]
    usage: tuple[Path, ...]
    memory: tuple[Path, ...]

    def cpu_limit(self) -> float | None:
        """How many processors it may use; None where nothing limits it."""
        if self.version == 2:
            found = [_quota(*_words(each / "cpu.max")[:2]) for each in self.cpu]
        else:
            found = [
                _quota(*_words(each / "cpu.cfs_quota_us"), *_words(each / "cpu.cfs_period_us"))
                for each in self.cpu
            ]
        return min((limit for limit in found if limit is not None), default=None)

    def cpu_used_s(self) -> float | None:
        """Seconds of processor time that it has used so far."""
        for each in self.usage:
            if self.version == 2 and (usec := _fields(each / "cpu.stat").get("usage_usec")):
                return usec / 1e6
            if self.version == 1 and (words := _words(each / "cpuacct.usage")):
                return int(words[0]) / 1e9
        return None

    def memory_limit(self) -> int | None:
        """Bytes it may use; None where nothing limits it."""
        name = "memory.max" if self.version == 2 else "memory.limit_in_bytes"
        words = [word for each in self.memory for word in _words(each / name)[:1]]
        limits = [int(word) for word in words if word.isdecimal() and int(word) < _NO_LIMIT]
        return min(limits, default=None)

    def memory_used(self) -> int | None:
        """Bytes it uses, without cached files that nobody has looked at lately."""
        now, cached = (
            ("memory.current", "inactive_file")
            if self.version == 2
            else ("memory.usage_in_bytes", "total_inactive_file")
        )
        for each in self.memory:
            if words := _words(each / now):
                return max(int(words[0]) - _fields(each / "memory.stat").get(cached, 0), 0)
        return None


def our_group(root: Path = ROOT, ours: Path = OURS) -> Group | None:
    """The group that this process is in; None where the system says nothing of groups."""
    paths = dict(_memberships(ours))
    if (root / "cgroup.controllers").exists():
        places = tuple(_upwards(root, paths.get("", "/")))
        return Group(version=2, cpu=places, usage=places, memory=places)
    if not (root / "memory").is_dir():
        return None
    cpu, usage, memory = (
        tuple(_upwards(root / name, paths.get(name, "/"))) for name in ("cpu", "cpuacct", "memory")
    )
    return Group(version=1, cpu=cpu, usage=usage, memory=memory)


def _memberships(ours: Path) -> Iterator[tuple[str, str]]:
    """The names (controllers; "" in version 2) and the path of each line of /proc/PID/cgroup."""
    try:
        lines = ours.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        for name in controllers.split(","):
            yield name, path


def _upwards(root: Path, path: str) -> Iterator[Path]:
    """Our directory and those above it; where ours is not mounted here, the root."""
    place = root / path.lstrip("/")
    if ".." in path or not place.is_dir():
        place = root
    yield place
    while place != root:
        place = place.parent
        yield place


def _quota(quota: str = "max", period: str = "0") -> float | None:
    if not quota.isdecimal() or not period.isdecimal() or not int(period):
        return None
    return int(quota) / int(period)


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []


def _fields(path: Path) -> dict[str, int]:
    words = _words(path)
    pairs = zip(words[::2], words[1::2], strict=False)
    return {name: int(value) for name, value in pairs if value.isdecimal()}
