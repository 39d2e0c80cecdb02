"""What ended the container that an agent runs in, as whoever waits for the agent is told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio

from kled_provider.kata.container.ending import how_it_ended, wait_agent_container
from kled_provider.kata.machine import KataMachine
from kled_provider.kata.owner.loading import load_owner_file
from tests.kit.waiting import wait_until
from tests.provider.kata.containers import attributes

pytestmark = pytest.mark.slow

TEMPLATE = """
resource "kata_image" "base" {
  name    = "kled.test/busybox:1"
  archive = "DIRECTORY/images/busybox.tar"
}
resource "kata_container" "ws" {
  name    = "ws"
  image   = kata_image.base.id
  memory  = 64
  env     = { HOW = "COMMAND" }
  runtime { handler = "runc" }
  MORE
  agent {
    id    = "a-1"
    token = "t"
  }
}
"""


@pytest.fixture
async def machine(platform: Any) -> AsyncIterator[KataMachine]:
    platform.write(f'[agent_bundles]\namd64 = "{platform.directory}/bundle"\n')
    (platform.directory / "bundle/bin").mkdir(parents=True)
    machine = KataMachine(lambda: load_owner_file(str(platform.file)))
    async with trio.open_nursery() as nursery:
        await nursery.start(machine.serve)
        yield machine
        nursery.cancel_scope.cancel()


def template(platform: Any, command: str, more: str = "") -> str:
    init = platform.directory / "bundle/bin/kled-init"  # the bundle's own is tried elsewhere
    init.write_text(f"#!/bin/sh\n{command}\n")
    init.chmod(0o755)
    text = TEMPLATE.replace("DIRECTORY", str(platform.directory))
    return text.replace("COMMAND", command).replace("MORE", more)


async def test_each_end_is_told_at_once_with_what_ended_it(
    kata: Any, platform: Any, machine: KataMachine
) -> None:
    await kata("init")
    api = await machine.containerd()
    for command, more, how, lines in (
        ("echo one; echo no such file; exit 3", "", "exit code 3", ("one", "no such file")),
        ("exit 137", "", "exit code 137 (SIGKILL)", ()),
        ("tail /dev/zero", "", "a process of it needed more than its 64 MiB", ()),
        ("echo again; exit 1", 'restart = "always"', "exit code 1", ("again",)),
    ):
        kata.write(template(platform, command, more))
        await kata("apply", "-auto-approve")
        with trio.fail_after(20):
            said = await wait_agent_container(api, machine.owner(), "w-1", "a-1")
        assert said[0].startswith("container ws ended with exit code "), said
        assert how in said[0], said
        assert not lines or said[1][-len(lines) :] == lines, said
    await kata("destroy", "-auto-approve")


def init_says(code: int, ends: int) -> str:
    return f"echo 'kled-init: agent: exit code {code}, end {ends} in a row; it is started again'"


async def test_an_agent_that_ends_again_and_again_beside_a_command_is_told(
    kata: Any, platform: Any, machine: KataMachine
) -> None:
    """What it said of ends before the wait counts for nothing: they may be of a week ago."""
    await kata("init")
    go = "while [ ! -e /go ]; do sleep 0.1; done"
    ends = f"{init_says(1, 9)}; {go}; echo no address; {init_says(3, 2)}; {init_says(4, 3)}"
    kata.write(template(platform, f"{ends}; exec sleep 600"))
    await kata("apply", "-auto-approve")
    api = await machine.containerd()
    log = Path(attributes(kata)["log_path"])
    wait_until("what it says first", lambda: log.exists() and b"9 in a row" in log.read_bytes())
    said = []
    async with trio.open_nursery() as nursery:

        async def wait() -> None:
            said.append(await wait_agent_container(api, machine.owner(), "w-1", "a-1"))

        nursery.start_soon(wait)
        with trio.move_on_after(1):
            await trio.sleep_forever()
        assert not said
        made = attributes(kata)["id"]
        platform.containerd.ctr("tasks", "exec", "--exec-id", "go", made, "touch", "/go")
        nursery.cancel_scope.deadline = trio.current_time() + 20
    how = "beside the command of container ws, 3 times in a row, last with exit code 4"
    assert said == [(how, ("no address",))]
    await kata("destroy", "-auto-approve")


async def test_one_that_lives_is_waited_for(kata: Any, platform: Any, machine: KataMachine) -> None:
    await kata("init")
    kata.write(template(platform, "exec sleep 600"))
    await kata("apply", "-auto-approve")
    api = await machine.containerd()
    for agent in ("a-1", "a-2"):
        with trio.move_on_after(0.5) as scope:
            await wait_agent_container(api, machine.owner(), "w-1", agent)
        assert scope.cancelled_caught
    await kata("destroy", "-auto-approve")


def test_an_end_is_one_sentence() -> None:
    assert how_it_ended("ws", 255, None) == "container ws ended with exit code 255"
    assert how_it_ended("ws", None, None) == "container ws ended"
    assert "OOM-killed" in how_it_ended("ws", 137, 64 << 20)
