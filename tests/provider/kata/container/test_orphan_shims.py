"""A shim whose task containerd has forgotten is ended, and no other process is."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from kled_provider.kata.container.orphan_shims import end_orphan_shims

pytestmark = pytest.mark.slow
ADDRESS, NAMESPACE, ID = "/run/a.sock", "kled-x", "ws-0a1b-2c"
FLAGS = ("-namespace", NAMESPACE, "-id", ID, "-address", ADDRESS)
# As a shim it has a child in its group, and ends by SIGTERM; one that is stubborn does not.
SHIM = "[ $1 != stubborn ] || trap '' TERM; echo up; sleep 600 & wait"

Started = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def started() -> Iterator[Started]:
    with ExitStack() as all_of_them:

        def start(*words: str, kind: str = "shim") -> subprocess.Popen[bytes]:
            vector = ["sh", "-c", SHIM, "shim", kind, *words]
            made = subprocess.Popen(vector, process_group=0, stdout=subprocess.PIPE)
            all_of_them.enter_context(made)
            all_of_them.callback(end_group, made.pid)
            assert made.stdout is not None
            assert made.stdout.readline() == b"up\n"
            return made

        yield start


def end_group(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


async def test_one_of_ours_is_ended_with_what_it_has_started(started: Started) -> None:
    shim, stubborn = started(*FLAGS), started(*FLAGS[2:], *FLAGS[:2], "-debug", kind="stubborn")
    await end_orphan_shims(ADDRESS, NAMESPACE, ID)
    assert shim.wait(10) == -signal.SIGTERM
    assert stubborn.wait(10) == -signal.SIGKILL
    for each in (shim, stubborn):
        assert each.stdout is not None
        assert each.stdout.read() == b"", "its child has ended too"
    await end_orphan_shims(ADDRESS, NAMESPACE, ID)


async def test_no_other_process_is_ended(started: Started) -> None:
    others = [
        started(*FLAGS[:3], "ws-other", *FLAGS[4:]),
        started(FLAGS[0], "default", *FLAGS[2:]),
        started(*FLAGS[:5], "/run/b.sock"),
        started(*FLAGS, "-bundle", "/b", "delete"),
        started(*FLAGS, "start"),
        started(ID, ADDRESS, NAMESPACE),
    ]
    await end_orphan_shims(ADDRESS, NAMESPACE, ID)
    assert [other.poll() for other in others] == [None] * len(others)


TEMPLATE = """
resource "kata_image" "base" {
  name    = "kled.test/busybox:1"
  archive = "DIRECTORY/images/busybox.tar"
}
resource "kata_container" "ws" {
  name   = "ws"
  image  = kata_image.base.id
  memory = 64
  runtime { handler = "runc" }
}
"""


async def test_a_container_whose_task_was_lost_is_made_again_and_its_shim_ends(
    kata: Any, platform: Any
) -> None:
    kata.write(TEMPLATE.replace("DIRECTORY", str(platform.directory)))
    await kata("init")
    await kata("apply", "-auto-approve")
    (shim,) = platform.containerd.shims()
    platform.containerd.kill()
    (state,) = Path(platform.containerd.directory).glob(
        "state/io.containerd.runtime.v2.task/*/ws-*"
    )
    state.rename(platform.directory / "lost")
    platform.containerd.start()
    await kata("apply", "-auto-approve")
    assert shim not in platform.containerd.shims()
    assert len(platform.containerd.shims()) == 1
    await kata("destroy", "-auto-approve")
    assert platform.containerd.shims() == []
