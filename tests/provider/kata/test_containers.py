"""Containers by Terraform on a real containerd, with runc and with the handler of Kata."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.slow

IMAGE = """
resource "kata_image" "base" {
  name    = "kled.test/busybox:1"
  archive = "%s/images/busybox.tar"
}
"""
CONTAINER = """
resource "kata_container" "ws" {
  name    = "ws"
  image   = kata_image.base.id
  memory  = 128
  runtime { handler = "runc" }
}
"""


def attributes(terraform: Any, address: str) -> dict[str, Any]:
    return dict(terraform.state()[address]["instances"][0]["attributes"])


async def test_a_container_runs_stays_and_goes(kata: Any, platform: Any) -> None:
    kata.write(IMAGE % platform.directory + CONTAINER)
    await kata("init")
    await kata("apply", "-auto-approve")
    made = attributes(kata, "kata_container.ws")
    assert made["status"] == "running"
    assert platform.containerd.names("containers") == [made["id"]]
    assert "No changes" in await kata("plan", "-detailed-exitcode")
    await kata("destroy", "-auto-approve")
    assert platform.containerd.names("containers") == []
    assert platform.containerd.names("images") == []
