"""What a control group uses and may use, in both versions, as a container and a host have them."""

from __future__ import annotations

from pathlib import Path

import pytest

from kled_client.stat.cgroup import our_group


def put(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    return tmp_path / "self"


def test_version_2_in_a_container(tmp_path: Path, ours: Path) -> None:
    root = tmp_path / "cgroup"
    ours.write_text("0::/\n")
    put(root, {
        "cgroup.controllers": "cpu memory", "cpu.max": "150000 100000",
        "cpu.stat": "usage_usec 2500000\nuser_usec 1\n", "memory.max": "1073741824\n",
        "memory.current": "500000000\n", "memory.stat": "anon 1\ninactive_file 100000000\n",
    })  # fmt: skip
    group = our_group(root, ours)
    assert group is not None
    assert (group.cpu_limit(), group.cpu_used_s()) == (1.5, 2.5)
    assert (group.memory_limit(), group.memory_used()) == (2**30, 400_000_000)


def test_the_tightest_limit_above_us_counts_and_the_use_is_ours(tmp_path: Path, ours: Path) -> None:
    root = tmp_path / "cgroup"
    ours.write_text("0::/user.slice/box.scope\n")
    put(root, {
        "cgroup.controllers": "", "user.slice/memory.max": "1000\n",
        "user.slice/cpu.max": "max 100000",
        "user.slice/memory.current": "900\n", "user.slice/box.scope/memory.max": "max\n",
        "user.slice/box.scope/memory.current": "10\n",
        "user.slice/box.scope/cpu.max": "50000 100000",
    })  # fmt: skip
    group = our_group(root, ours)
    assert group is not None
    assert (group.memory_limit(), group.memory_used(), group.cpu_limit()) == (1000, 10, 0.5)


def test_version_1(tmp_path: Path, ours: Path) -> None:
    root = tmp_path / "cgroup"
    # A path of the host's, which is not there in a container: the root is ours.
    ours.write_text("5:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc\n0::/\n")
    put(root, {
        "cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n",
        "cpuacct/cpuacct.usage": "3000000000\n", "memory/memory.limit_in_bytes": "2048\n",
        "memory/memory.usage_in_bytes": "1024\n", "memory/memory.stat": "total_inactive_file 24\n",
    })  # fmt: skip
    group = our_group(root, ours)
    assert group is not None
    assert (group.cpu_limit(), group.cpu_used_s()) == (2.0, 3.0)
    assert (group.memory_limit(), group.memory_used()) == (2048, 1000)
    put(
        root,
        {"cpu/cpu.cfs_quota_us": "-1\n", "memory/memory.limit_in_bytes": "9223372036854771712\n"},
    )
    assert (group.cpu_limit(), group.memory_limit()) == (None, None)


def test_no_groups_at_all(tmp_path: Path, ours: Path) -> None:
    assert our_group(tmp_path / "cgroup", ours) is None
