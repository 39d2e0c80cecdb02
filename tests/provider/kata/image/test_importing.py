"""An archive is imported from the owner's places for imports alone, whatever leads there."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.slow
IMAGE = """
resource "kata_image" "base" {
  name    = "kled.test/busybox:1"
  archive = "%s"
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
        ("images", "not a regular file"),
    ],
)
async def test_a_path_that_leads_elsewhere_is_refused_at_its_attribute(
    kata: Any, platform: Any, path: str, why: str
) -> None:
    images = platform.directory / "images"
    (platform.directory / "imagesque.tar").write_bytes(b"")
    (images / "link.tar").symlink_to(images / "busybox.tar")
    (images / "linked").symlink_to(images)
    kata.write(IMAGE % f"{platform.directory}/{path}")
    await kata("init")
    said = await kata("apply", "-auto-approve", "-no-color", code=1)
    assert why in " ".join(said.replace("│", "").split())
    assert "archive = " in said
    assert platform.containerd.names("images") == []
