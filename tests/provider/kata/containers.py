"""Templates of one container, and what is left of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
  %s
}
"""


def attributes(terraform: Any, address: str = "kata_container.ws") -> dict[str, Any]:
    return terraform.attributes(address)


def template(platform: Any, more: str = "", **replaced: str) -> str:
    text = IMAGE % platform.directory + CONTAINER % more
    for old, new in replaced.items():
        text = text.replace(f'"{old}"', f'"{new}"')
    return text


async def refused(terraform: Any, *arguments: str) -> str:
    """What an error says, without the frame that Terraform draws."""
    output: str = await terraform(*arguments, "-no-color", code=1)
    words = " ".join(line.lstrip("│╷╵ ") for line in output.splitlines())
    return " ".join(words.split())


def nothing_is_left(platform: Any) -> None:
    containerd = platform.containerd
    assert containerd.names("containers") == []
    assert containerd.names("tasks") == []
    assert containerd.names("leases") == []
    assert [
        m for m in Path("/proc/self/mounts").read_text().split() if str(platform.directory) in m
    ] in (
        [],
        [f"{platform.directory}/run/secrets"],
    )
    snapshots = containerd.ctr("snapshots", "ls").stdout.splitlines()[1:]
    assert [line for line in snapshots if "Active" in line] == []
    run = platform.directory / "run"
    found = [str(p.relative_to(run)) for p in run.rglob("*") if not p.is_dir()]
    assert [p for p in found if not p.endswith(".lock")] == []
