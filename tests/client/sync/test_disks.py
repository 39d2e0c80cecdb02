"""Disks that are full, or may not be written to, where a continuous sync is or keeps its state."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from kled_client.sync.sessions import SyncSession
from kled_wire.errors import UnavailableError
from tests.client.sync.conftest import Env, running
from tests.kit.small_disk import mounted


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A filesystem of 1 MiB."""
    with mounted(tmp_path / "disk", 1) as place:
        yield place


async def test_a_one_way_source_need_not_be_writable_and_another_folder_must(
    env: Env, session: SyncSession, tmp_path: Path, disk: Path
) -> None:
    (disk / "here").mkdir()
    (disk / "here" / "a").write_text("1")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    session = replace(session, alpha=str(disk / "here"))
    async with running(env) as asked:
        with pytest.raises(UnavailableError, match="nothing can be staged") as caught:
            await asked("start", session=asdict(session))
        assert caught.value.code == "sync_staging_unusable"
        await asked("start", session=asdict(replace(session, mode="one-way-safe")))
        await asked("flush", name="s")
        assert (tmp_path / "there" / "a").read_text() == "1"


async def test_a_full_disk_of_the_state_is_told_and_changes_nothing(
    env: Env, session: SyncSession, disk: Path
) -> None:
    env["XDG_STATE_HOME"] = str(disk)
    async with running(env) as asked:
        await asked("start", session=asdict(session))
        await asked("flush", name="s")
        with (disk / "full").open("wb", buffering=0) as full, suppress(OSError):
            while full.write(b"x" * 1024):
                pass
        with pytest.raises(UnavailableError, match="No space left") as caught:
            await asked("pause", name="s")
        assert caught.value.code == "sync_state_unusable"
        assert "XDG_STATE_HOME" in (caught.value.hint or "")
        assert (await asked("status", name="s"))["state"] == "running"
        (disk / "full").unlink()
        assert (await asked("pause", name="s"))["state"] == "paused"
