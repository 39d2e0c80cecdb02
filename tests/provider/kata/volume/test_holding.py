"""The lock of a volume: held as long as the task runs, by nobody longer, whoever is killed."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from kled_provider.kata.volume.mounts import is_locked, lock_hook, volume_mount
from kled_provider.kata.volume.stored import (
    TMPFS,
    StoredVolume,
    VolumeError,
    require_no_writer,
    writer,
)
from tests.kit.waiting import wait_until


def volume(tmp_path: Path, **fields: object) -> StoredVolume:
    return StoredVolume(
        id="vol-1", name="home", workspace="w", owner="u", generation="g",
        data=tmp_path / "data", lock=tmp_path / "lock", **fields,  # type: ignore[arg-type]
    )  # fmt: skip


@pytest.fixture
def task() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "1000"]) as process:
        yield process
        process.kill()


def hook(home: StoredVolume, container: str, pid: int) -> subprocess.CompletedProcess[str]:
    """As runc runs it: it waits for the end of the pipes too."""
    made = lock_hook([home])
    assert made is not None
    assert Path(made["path"]).is_absolute()
    state = json.dumps({"ociVersion": "1.0.2", "id": container, "pid": pid, "status": "creating"})
    return subprocess.run(
        made["args"], executable=made["path"], input=state, env={}, timeout=20,
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_a_second_writer_is_refused_until_the_first_task_ends(
    tmp_path: Path, task: subprocess.Popen[bytes]
) -> None:
    home = volume(tmp_path)
    assert writer(home) is None
    assert hook(home, "c1", task.pid).returncode == 0
    assert writer(home) == "c1"
    with pytest.raises(VolumeError, match="'home' is in use by container c1"):
        require_no_writer(home)
    require_no_writer(home, besides="c1")
    refused = hook(home, "c2", os.getpid())
    assert refused.returncode == 3
    assert refused.stderr == "volume home is in use by container c1\n"
    task.kill()
    task.wait()
    wait_until("the lock is free", lambda: writer(home) is None)
    with subprocess.Popen(["sleep", "1000"]) as second:
        assert hook(home, "c2", second.pid).returncode == 0
        assert writer(home) == "c2"
        second.kill()
    wait_until("the lock is free", lambda: writer(home) is None)


def test_a_task_that_has_ended_already_holds_nothing(tmp_path: Path) -> None:
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    assert hook(volume(tmp_path), "c1", ended.pid).returncode != 0
    assert writer(volume(tmp_path)) is None


def test_who_reads_takes_no_lock(tmp_path: Path) -> None:
    assert is_locked(volume(tmp_path), read_only=False)
    assert not is_locked(volume(tmp_path), read_only=True)
    assert not is_locked(volume(tmp_path, read_only=True), read_only=False)
    assert not is_locked(volume(tmp_path, kind=TMPFS), read_only=False)
    assert lock_hook([]) is None
    twice = lock_hook([volume(tmp_path), volume(tmp_path)])
    assert twice is not None
    assert [word for word in twice["args"] if "=" in word] == [f"home={tmp_path}/lock"]


def test_mounts_are_as_the_oci_specification_has_them(tmp_path: Path) -> None:
    assert volume_mount(volume(tmp_path), "/home", read_only=False) == {
        "destination": "/home",
        "type": "bind",
        "source": str(tmp_path / "data"),
        "options": ["rbind", "rprivate", "rw", "nodev"],
    }
    assert "ro" in volume_mount(volume(tmp_path, read_only=True), "/x", read_only=False)["options"]
    temporary = volume_mount(volume(tmp_path, kind=TMPFS, uid=7), "/tmp", read_only=False)
    assert temporary["type"] == "tmpfs"
    assert {"size=64m", "uid=7", "gid=0", "mode=0755"} <= set(temporary["options"])
