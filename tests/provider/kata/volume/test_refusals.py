"""Each refusal of a volume stands at the attribute that is to blame, and says what to do."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kled_provider.kata.volume.resource import VolumeResource, VolumeSettings
from kled_provider.kata.volume.stored import VolumeStore
from kled_provider.plugin.diagnostics import Diagnostic, DiagnosticError
from kled_provider.plugin.operations import Operations
from kled_provider.plugin.values import Values, conform_object
from tests.provider.conftest import FakeHost

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="volumes are root's")
PATH = ("populate", "path")


@pytest.fixture
def settings(tmp_path: Path) -> VolumeSettings:
    for name in ("disk", "skeletons/deep", "state"):
        (tmp_path / name).mkdir(parents=True)
    return VolumeSettings(
        directory=tmp_path / "state",
        places={"disk": str(tmp_path / "disk"), "gone": str(tmp_path / "gone/below")},
        sources={"skeletons": str(tmp_path / "skeletons")},
    )


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB, in the place of the disk."""
    place = tmp_path / "disk"
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", place], check=True)
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def values(**said: Any) -> Values:
    schema = VolumeResource.schema
    defaults = {a.name: a.default for a in schema.attributes}
    return conform_object({**defaults, "name": "home", "populate": None, **said}, schema)


def filled(path: str, place: str = "skeletons") -> Values:
    return {"place": place, "path": path}


async def created(settings: VolumeSettings, planned: Values) -> tuple[Diagnostic, ...]:
    """What a create tells, after a plan that told nothing."""
    resource = VolumeResource(lambda: settings)
    context = Operations(FakeHost(directory=settings.directory)).context(generation="g")
    if found := [*resource.validate(planned), *await resource.check_plan(context, None, planned)]:
        return tuple(found)
    try:
        await resource.create(context, planned)
    except DiagnosticError as error:
        return error.diagnostics
    return ()


@pytest.mark.parametrize(
    ("said", "path", "words"),
    [
        ({"name": "-x"}, ("name",), "beginning with a letter or digit"),
        ({"name": "x" * 101}, ("name",), "at most 100"),
        ({"kind": "block"}, ("kind",), "Use directory or tmpfs"),
        ({"size": 5}, ("size",), "leave it out"),
        ({"kind": "tmpfs", "size": 0}, ("size",), "1 to 1048576 MiB; got 0"),
        ({"kind": "tmpfs", "place": "disk"}, ("place",), "leave it out"),
        ({"kind": "tmpfs", "populate": filled("deep")}, ("populate",), "leave it out"),
        ({"kind": "tmpfs", "retention": "keep"}, ("retention",), "nothing to keep"),
        ({"retention": "forever"}, ("retention",), "Use keep or delete"),
        ({"uid": -1}, ("uid",), "got -1"),
        ({"gid": 1 << 32}, ("gid",), "got 4294967296"),
        ({"mode": "999"}, ("mode",), "octal"),
        ({"place": "moon"}, ("place",), "There are disk, gone. A place is an entry of"),
        ({"populate": filled("x", "moon")}, ("populate", "place"), "There are skeletons."),
        ({"populate": filled("none")}, PATH, "there is no 'none'. Correct the path"),
        ({"populate": filled("../../etc")}, PATH, "has '..' in it. Write the path without it."),
        ({"populate": filled("link")}, PATH, "symbolic link, and none is followed. Write the path"),
        ({"populate": filled("pipe")}, PATH, "not a directory or a regular file. Correct"),
        ({"populate": filled("bad.tar")}, PATH, "no archive that can be read"),
        ({"populate": filled("socket")}, PATH, "'s' is a device, socket or pipe. Correct"),
        ({"place": "gone"}, ("place",), ": Not a directory. Let its owner see to that, or"),
    ],
)  # fmt: skip
async def test_each_has_its_attribute_and_what_to_do(
    settings: VolumeSettings, tmp_path: Path, said: Values, path: Any, words: str
) -> None:
    sources = tmp_path / "skeletons"
    (sources / "link").symlink_to("/etc")
    os.mkfifo(sources / "pipe")
    (sources / "bad.tar").write_bytes(b"no archive")
    (sources / "socket").mkdir()
    (tmp_path / "gone").touch()
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(os.path.relpath(sources / "socket/s"))
    (found,) = await created(settings, values(**said))
    assert found.path == path
    assert words in found.detail, found.detail
    assert found.summary[0].isupper()
    assert not found.summary.endswith(".")
    assert found.detail.endswith(".") or "; got " in found.detail
    nothing_is_left(settings)


def nothing_is_left(settings: VolumeSettings) -> None:
    assert not list(VolumeStore(settings.directory).all())
    left = [*settings.directory.rglob("*"), *Path(settings.places["disk"]).rglob("*")]
    assert not [p.name for p in left if not p.is_dir() and p.name != "volumes.lock"]
    assert not [p.name for p in left if "vol-" in p.name]


async def test_a_full_disk_is_told_at_what_says_where_the_volume_lies(
    settings: VolumeSettings, tmp_path: Path, full: Path
) -> None:
    (tmp_path / "skeletons/deep/large").write_bytes(os.urandom(1 << 20))
    (found,) = await created(settings, values(place="disk", populate=filled("deep")))
    assert found.path == ("place",)
    assert "No space left on device. Make room there" in found.detail
    assert str(full) in found.detail
    nothing_is_left(settings)
    # Where the record itself finds no room, the directory goes too.
    on_full = VolumeSettings(directory=full / "state", places={}, sources=settings.sources)
    (full / "state").mkdir()
    (full / "filling").write_bytes(b"")
    with (full / "filling").open("wb", buffering=0) as filling:
        try:
            while filling.write(b"x" * 4096):
                pass
        except OSError:
            pass
    (found,) = await created(on_full, values())
    assert found.path == ("name",)
    assert "No space left on device" in found.detail
    assert not [p.name for p in full.rglob("*vol-*")]
