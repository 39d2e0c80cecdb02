"""A disk that fills up while an image is taken: told at the attribute, and nothing is left."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.kit.oci import image_of, tar_of
from tests.kit.private_containerd import PrivateContainerd, open_containerd
from tests.kit.waiting import wait_until
from tests.provider.kata.containers import refused

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts"),
]
ROOM = 16 << 20
LARGE = 2 * ROOM


@contextmanager
def small_disk(place: Path) -> Iterator[None]:
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "none", place], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", place], check=False)  # a containerd takes its own away


@pytest.fixture
def containerd() -> Iterator[PrivateContainerd]:
    """One whose images lie on a small disk."""
    with tempfile.TemporaryDirectory(prefix="kc-") as name:
        place = Path(name)
        with small_disk(place / "root"), open_containerd(place) as opened:
            yield opened


def image(archive: Path) -> str:
    return (
        f'resource "kata_image" "base" {{\n  name = "kled.test/x:1"\n  archive = "{archive}"\n}}\n'
    )


def is_clean(containerd: PrivateContainerd) -> bool:
    """Whether nothing of an image is there; containerd collects what nobody holds."""
    listed = (("images",), ("leases",), ("content",))
    snapshots = containerd.ctr("snapshots", "ls").stdout.splitlines()[1:]
    begun = containerd.ctr("content", "active").stdout.splitlines()[1:]
    used = shutil.disk_usage(containerd.directory / "root").used
    return not (snapshots or begun or any(containerd.names(*w) for w in listed) or used > ROOM // 4)


@pytest.mark.parametrize(
    "content",
    [lambda: os.urandom(LARGE), lambda: bytes(LARGE)],
    ids=["as it is fetched", "as it is unpacked"],
)
async def test_an_image_for_which_there_is_no_room(
    kata: Any, platform: Any, content: Callable[[], bytes]
) -> None:
    large = platform.directory / "images/large.tar"
    image_of(tar_of({"large": content()})).save(large, "kled.test/x:1")
    kata.write(image(large))
    await kata("init")
    said = await refused(kata, "apply", "-auto-approve")
    assert "containerd refused the image" in said
    assert "The disk of containerd is full" in said
    assert "no space left on device" in said
    assert f'archive = "{large}"' in said
    wait_until("nothing is left", lambda: is_clean(platform.containerd), within_s=30)
    # What finds room is taken.
    kata.write(image(platform.directory / "images/busybox.tar"))
    await kata("apply", "-auto-approve")
    await kata("destroy", "-auto-approve")
    wait_until("nothing is left", lambda: is_clean(platform.containerd), within_s=30)


async def test_a_directory_for_which_there_is_no_room_to_pack_it(kata: Any, platform: Any) -> None:
    root = platform.directory / "images/root"
    root.mkdir()
    (root / "large").write_bytes(os.urandom(LARGE))
    kata.write(image(root))
    await kata("init")
    with small_disk(platform.directory / "state"):
        said = await refused(kata, "apply", "-auto-approve")
        assert "The image cannot be kept" in said
        assert "No space left on device" in said
        assert f'archive = "{root}"' in said
        assert not list((platform.directory / "state").iterdir())
    wait_until("nothing is left", lambda: is_clean(platform.containerd), within_s=30)
