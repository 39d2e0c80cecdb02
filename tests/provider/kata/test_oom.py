"""A container of which the kernel has killed a process for memory, seen by the next refresh."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio

from kled_provider.kata.oom import OOM_LABEL

pytestmark = pytest.mark.slow

TEMPLATE = """
resource "kata_image" "base" {
  name    = "kled.test/busybox:1"
  archive = "DIRECTORY/images/busybox.tar"
}
resource "kata_container" "ws" {
  name     = "ws"
  image    = kata_image.base.id
  memory   = 64
  command  = ["/bin/sh", "-c", "tail /dev/zero"]
  must_run = false
  runtime { handler = "runc" }
}
"""


async def test_it_is_known_after_its_cgroup_is_gone_too(kata: Any, platform: Any) -> None:
    ctr = platform.containerd.ctr
    kata.write(TEMPLATE.replace("DIRECTORY", str(platform.directory)))
    await kata("apply", "-auto-approve")

    def made() -> dict[str, Any]:
        return kata.attributes("kata_container.ws")

    def is_marked() -> bool:
        labels = json.loads(ctr("containers", "info", made()["id"]).stdout)["Labels"]
        return OOM_LABEL in labels and "STOPPED" in ctr("tasks", "ls").stdout

    with trio.fail_after(20):
        while not is_marked():
            await trio.sleep(0.05)
    await kata("apply", "-auto-approve", "-refresh-only")
    found = made()
    assert (found["status"], found["exit_code"], found["oom_killed"]) == ("stopped", 137, True)
    ctr("tasks", "rm", found["id"])  # and with the task its cgroup
    await kata("apply", "-auto-approve", "-refresh-only")
    assert made()["oom_killed"] is True
    await kata("destroy", "-auto-approve")
