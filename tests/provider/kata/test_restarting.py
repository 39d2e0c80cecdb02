"""Containers that end, and what starts them again."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import trio

from kled_provider.containerd.tasks import Tasks
from tests.kit.private_containerd import end_loggers, unmount_below
from tests.provider.kata.containers import attributes, nothing_is_left, refused, template

pytestmark = pytest.mark.slow


async def until_restarted(terraform: Any, pid: int) -> None:
    for _ in range(200):
        await terraform("apply", "-auto-approve", "-refresh-only")
        if attributes(terraform)["pid"] not in (None, pid):
            return
    raise AssertionError("it does not start again")


async def until_stopped(platform: Any, container: str) -> None:
    for _ in range(200):
        if "STOPPED" in platform.containerd.ctr("tasks", "ls").stdout:
            return
        await trio.sleep(0.05)
    raise AssertionError(f"{container} does not stop")


async def test_one_that_need_not_run_keeps_its_exit_code(kata: Any, platform: Any) -> None:
    more = 'command = ["/bin/sh", "-c", "exit 7"]\n  must_run = false'
    kata.write(template(platform, more))
    await kata("apply", "-auto-approve")
    await until_stopped(platform, attributes(kata)["id"])
    await kata("apply", "-auto-approve", "-refresh-only")
    made = attributes(kata)
    assert (made["status"], made["exit_code"], made["pid"]) == ("stopped", 7, None)
    assert "No changes" in await kata("plan", "-detailed-exitcode")
    kata.write(template(platform, f'{more}\n  labels = {{ a = "b" }}\n  vcpus = 0.5'))
    assert "0 added, 1 changed" in await kata("apply", "-auto-approve", "-no-color")
    assert "No changes" in await kata("plan", "-detailed-exitcode")
    await kata("destroy", "-auto-approve")


async def test_containerd_is_told_to_restart_one_when_it_has_started(
    kata: Any, platform: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its restart monitor ends what has not started when it looks: of a VM that takes seconds."""
    start, seen = Tasks.start, []

    async def looked(tasks: Any, container: str) -> Any:
        seen.append(platform.containerd.ctr("containers", "info", container).stdout)
        return await start(tasks, container)

    monkeypatch.setattr(Tasks, "start", looked)
    kata.write(template(platform, 'restart = "always"'))
    await kata("apply", "-auto-approve")
    seen.append(platform.containerd.ctr("containers", "info", attributes(kata)["id"]).stdout)
    assert ["restart.status" in info for info in seen] == [False, True]
    await kata("destroy", "-auto-approve")


async def test_containerd_starts_one_again_that_is_always_to_run(kata: Any, platform: Any) -> None:
    more = 'restart = "always"\n  command = ["/bin/sh", "-c", "echo up; exec sleep 1000"]'
    kata.write(template(platform, more))
    await kata("apply", "-auto-approve")
    made = attributes(kata)
    os.kill(made["pid"], signal.SIGKILL)
    await until_restarted(kata, made["pid"])
    assert "No changes" in await kata("plan", "-detailed-exitcode")
    assert Path(made["log_path"]).read_text() == "up\nup\n"
    await kata("destroy", "-auto-approve")
    nothing_is_left(platform)


async def test_one_that_is_always_to_run_is_made_again_after_a_boot(
    kata: Any, platform: Any
) -> None:
    """containerd cannot start it: its files, its namespace and its FIFO were in memory."""
    kata.write(template(platform, 'restart = "always"'))
    await kata("apply", "-auto-approve")
    made = attributes(kata)
    end_loggers(platform.directory / "run")
    unmount_below(platform.directory)
    shutil.rmtree(platform.directory / "run")
    os.kill(made["pid"], signal.SIGKILL)
    await until_stopped(platform, made["id"])
    assert "1 to add" in await kata("plan", "-no-color")
    await kata("apply", "-auto-approve")
    assert attributes(kata)["status"] == "running"
    assert "No changes" in await kata("plan", "-detailed-exitcode")
    await kata("destroy", "-auto-approve")
    nothing_is_left(platform)


async def test_one_that_fails_is_started_again_as_often_as_its_policy_says(
    kata: Any, platform: Any
) -> None:
    more = 'restart = "on-failure:2"\n  command = ["/bin/sh", "-c", "echo up; exit 3"]'
    kata.write(template(platform, more))
    if platform.containerd.version() < (1, 7):
        said = await refused(kata, "plan")
        assert "'on-failure:2' needs containerd 1.7; this machine has 1.6" in said
        return
    await kata("apply", "-auto-approve")
    made = attributes(kata)
    with trio.fail_after(30):
        while Path(made["log_path"]).read_text() != "up\nup\nup\n":
            await trio.sleep(0.05)
    await kata("apply", "-auto-approve", "-refresh-only")
    assert "No changes" in await kata("plan", "-detailed-exitcode")
    await kata("destroy", "-auto-approve")
    nothing_is_left(platform)
