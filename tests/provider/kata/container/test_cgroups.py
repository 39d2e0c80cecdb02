"""What containerd does not know of a container any more is found by its cgroup, and ended."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from kled_provider.kata.container.cgroups import end_cgroups, recorded_cgroups

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root makes cgroups"),
]


@pytest.fixture
def namespace() -> Iterator[str]:
    name = f"kled-{secrets.token_hex(6)}"
    yield name
    for path in Path("/sys/fs/cgroup").glob(f"**/{name}"):
        path.rmdir()


def made(namespace: str, container: str) -> Path:
    """A cgroup as a runtime makes it: in the one hierarchy, or in one of many."""
    one = Path("/sys/fs/cgroup/memory")
    place = (one if one.is_dir() else one.parent) / namespace / container
    place.mkdir(parents=True)
    return place


@pytest.fixture
def left() -> Iterator[subprocess.Popen[bytes]]:
    """A process that nobody knows of."""
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process
        process.kill()


async def test_processes_of_a_forgotten_task_are_killed(
    namespace: str, left: subprocess.Popen[bytes]
) -> None:
    place = made(namespace, "ws-1")
    other = made(namespace, "ws-2")
    (place / "cgroup.procs").write_text(str(left.pid))
    assert sorted(recorded_cgroups(namespace)) == ["ws-1", "ws-2"]
    await end_cgroups(namespace, "ws-1")
    assert left.wait(10) == -signal.SIGKILL
    assert not place.exists()
    assert list(recorded_cgroups(namespace)) == ["ws-2"]
    await end_cgroups(namespace, "ws-2")
    await end_cgroups(namespace, "ws-2")
    assert not other.exists()
