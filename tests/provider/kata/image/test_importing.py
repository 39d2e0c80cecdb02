"""An archive is imported from the owner's places for imports alone, whatever leads there."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

import pytest
import trio

from kled_provider.kata.image.archive import open_archive
from kled_provider.kata.image.manifest import ImageFormatError
from tests.kit.oci import busybox_layer, image_of, tar_of
from tests.kit.waiting import wait_until
from tests.provider.kata.containers import refused

pytestmark = pytest.mark.slow
IMAGE = """
resource "kata_image" "base" {
  name    = "kled.test/busybox:1"
  archive = "%s"
}
"""


CONTAINER = """
resource "kata_container" "ws" {
  name    = "ws"
  image   = kata_image.base.id
  command = ["/bin/sleep", "1000"]
  memory  = 128
  stop_timeout = 0
  runtime { handler = "runc" }
}
"""


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("images/gone.tar", "there is no 'gone.tar'"),
        ("images/../kata.toml", "'..'"),
        ("imagesque.tar", "not beneath a path that this machine's owner allows"),
        ("images/link.tar", "symbolic link"),
        ("images/linked/busybox.tar", "symbolic links are not followed"),
        ("images/pipe", "is a socket, pipe or link, not a regular file or a directory"),
    ],
)
async def test_a_path_that_leads_elsewhere_is_refused_at_its_attribute(
    kata: Any, platform: Any, path: str, why: str
) -> None:
    images = platform.directory / "images"
    (platform.directory / "imagesque.tar").write_bytes(b"")
    (images / "link.tar").symlink_to(images / "busybox.tar")
    os.mkfifo(images / "pipe")
    (images / "linked").symlink_to(images)
    kata.write(IMAGE % f"{platform.directory}/{path}")
    await kata("init")
    said = await kata("apply", "-auto-approve", "-no-color", code=1)
    assert why in " ".join(said.replace("│", "").split())
    assert "archive = " in said
    assert platform.containerd.names("images") == []


async def test_a_root_directory_is_an_image(kata: Any, platform: Any) -> None:
    root = platform.directory / "images/root"
    root.mkdir()
    await trio.run_process(["tar", "-xC", str(root)], stdin=busybox_layer())
    os.mkfifo(root / "pipe")
    text = IMAGE % root + CONTAINER
    kata.write(text)
    await kata("apply", "-auto-approve")
    before = kata.state()["kata_image.base"]["instances"][0]["attributes"]
    made = kata.state()["kata_container.ws"]["instances"][0]["attributes"]
    found = platform.containerd.ctr(
        "tasks", "exec", "--exec-id", "look", made["id"], "/bin/sh", "-c", "ls /; readlink /bin/sh"
    ).stdout.split()
    assert {"bin", "etc", "busybox"} <= set(found)
    assert "pipe" not in found
    assert "No changes" in await kata("plan", "-detailed-exitcode")
    await kata("taint", "kata_image.base")
    await kata("apply", "-auto-approve")
    after = kata.state()["kata_image.base"]["instances"][0]["attributes"]
    assert after["digest"] == before["digest"]
    await kata("destroy", "-auto-approve")
    platform.write("[images]\nunpacked_bytes = 1000\n")
    kata.write(text)
    said = await kata("apply", "-auto-approve", "-no-color", code=1)
    assert "the directory has over 1000 bytes" in said


@pytest.mark.parametrize(
    "sizes", [(64 << 20,), (12 << 20, 12 << 20)], ids=["one layer", "several layers"]
)
async def test_an_image_may_not_unpack_to_more_than_the_owner_allows(
    kata: Any, platform: Any, sizes: tuple[int, ...]
) -> None:
    """It is small as it is packed: nothing shows before."""
    packed = platform.directory / "images/packed.tar"
    layers = [tar_of({f"large-{n}": bytes(size)}) for n, size in enumerate(sizes)]
    image_of(*layers).save(packed, "kled.test/busybox:1")
    platform.write("[images]\nunpacked_bytes = 20000000\n")
    kata.write(IMAGE % packed)
    said = await refused(kata, "apply", "-auto-approve")
    assert "its layers unpack to more than the 20000000 bytes" in said
    assert f'archive = "{packed}"' in said
    snapshots = functools.partial(platform.containerd.ctr, "snapshots", "ls")
    wait_until("nothing is left", lambda: len(snapshots().stdout.splitlines()) == 1)  # its head
    platform.write("[images]\nunpacked_bytes = 70000000\n")
    await kata("apply", "-auto-approve")
    await kata("destroy", "-auto-approve")


@pytest.mark.parametrize("listed", [b"null", b"[]", b'"x"', b"{}", b'{"manifests": 1}', b"{"])
@pytest.mark.parametrize("name", ["index.json", "manifest.json"])
def test_a_list_of_images_that_is_none_is_refused(tmp_path: Path, name: str, listed: bytes) -> None:
    (tmp_path / "x.tar").write_bytes(tar_of({"oci-layout": b"{}", name: listed}))
    with (tmp_path / "x.tar").open("rb") as file, pytest.raises(ImageFormatError):
        open_archive(file, 1 << 20)
