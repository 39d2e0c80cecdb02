"""`kata_volume` under the real terraform: made, kept, imported, renamed; errors."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from kled_provider.kata.volume.resource import (
    VolumeResource,
    VolumeSettings,
    collect_volumes,
)
from kled_provider.kata.volume.stored import StoredVolume, VolumeStore
from kled_provider.plugin.resource import Provider
from tests.provider.conftest import FakeHost, open_terraform

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root gives directories to others"),
]
ADDRESS = "registry.terraform.io/kled/kata"


@pytest.fixture
def settings(tmp_path: Path) -> VolumeSettings:
    for name in ("disk", "skeletons"):
        (tmp_path / name).mkdir()
    return VolumeSettings(
        directory=tmp_path / "state",
        places={"disk": str(tmp_path / "disk")},
        sources={"skeletons": str(tmp_path / "skeletons")},
    )


@pytest.fixture
async def terraform(host: FakeHost, settings: VolumeSettings, tmp_path: Path) -> AsyncIterator[Any]:
    directory = tmp_path / "tf"
    directory.mkdir()
    provider = Provider(name="kata", resources=(VolumeResource(lambda: settings),))
    async with open_terraform(host, directory, {ADDRESS: provider}) as found:
        yield found


def write(terraform: Any, *lines: str, more: str = "") -> None:
    terraform.write('resource "kata_volume" "home" {\n' + "\n".join(lines) + "\n}\n" + more)


def volumes(settings: VolumeSettings) -> dict[str, StoredVolume]:
    return {v.name: v for v in VolumeStore(settings.directory).all()}


async def test_every_attribute_is_applied_and_planned_again_without_a_change(
    terraform: Any, settings: VolumeSettings, tmp_path: Path
) -> None:
    (tmp_path / "skeletons/home").mkdir()
    (tmp_path / "skeletons/home/.profile").write_text("hello")
    everything = (
        'name = "home"', 'kind = "directory"', 'place = "disk"', "read_only = true",
        'retention = "delete"', "uid = 1000", "gid = 1001", 'mode = "750"',
        'populate { \n place = "skeletons" \n path = "home" \n }',
    )  # fmt: skip
    write(terraform, *everything)
    await terraform("init")
    await terraform("apply", "-auto-approve")
    await terraform("plan", "-detailed-exitcode")
    volume = volumes(settings)["home"]
    assert volume.data.parent.parent == tmp_path / "disk"
    assert (volume.data / ".profile").read_text() == "hello"
    found = volume.data.stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (1000, 1001, 0o750)
    assert (volume.data / ".profile").stat().st_uid == 1000

    # A rename moves nothing, and what can change in place does.
    everything = ('name = "renamed"', *everything[1:5], "uid = 7", *everything[6:])
    write(terraform, *(line.replace('"750"', '"2770"') for line in everything))
    said = await terraform("apply", "-auto-approve")
    assert "0 added, 1 changed, 0 destroyed" in said
    renamed = volumes(settings)["renamed"]
    assert (renamed.id, renamed.data) == (volume.id, volume.data)
    assert (renamed.data.stat().st_uid, renamed.data.stat().st_mode & 0o7777) == (7, 0o2770)
    await terraform("plan", "-detailed-exitcode")

    # An import gives the same state.
    await terraform("state", "rm", "kata_volume.home")
    await terraform("import", "kata_volume.home", "renamed")
    await terraform("plan", "-detailed-exitcode")

    # What was deleted behind its back is planned again.
    (volume.data / ".profile").unlink()
    volume.data.rmdir()
    assert "1 to add" in await terraform("plan")
    await terraform("apply", "-auto-approve")
    assert (volumes(settings)["renamed"].data / ".profile").exists()
    await terraform("destroy", "-auto-approve")
    assert not volumes(settings)
    assert not list((tmp_path / "disk/.kled-volumes").iterdir())


async def test_what_is_kept_is_taken_again_by_its_owner_alone(
    terraform: Any, host: FakeHost, settings: VolumeSettings
) -> None:
    lines = ('name = "home"', 'retention = "keep"')
    write(terraform, *lines)
    await terraform("init")
    await terraform("apply", "-auto-approve")
    kept = volumes(settings)["home"]
    (kept.data / "work").write_text("precious")
    await terraform("destroy", "-auto-approve")
    assert (kept.data / "work").read_text() == "precious"
    assert volumes(settings)["home"].workspace == ""

    await terraform("apply", "-auto-approve")
    assert volumes(settings)["home"].id == kept.id
    await terraform("destroy", "-auto-approve")
    # Another owner's volumes are not had by naming them.
    original = host.workspace

    async def of_another() -> Any:
        return {**await original(), "id": "w-2", "owner_id": "u-2"}

    host.workspace = of_another  # type: ignore[method-assign]
    assert "no volume" in await terraform("import", "kata_volume.home", kept.id, code=1)
    await terraform("apply", "-auto-approve")
    assert len(list(VolumeStore(settings.directory).all())) == 2


async def test_errors_stand_at_their_attributes_and_leave_nothing(
    terraform: Any, settings: VolumeSettings, tmp_path: Path
) -> None:
    await _refused(terraform, ['name = "-x"'], "begin", 'name = "-x"')
    await _refused(terraform, ['name = "x"', "size = 5"], "no size", "size = 5")
    await _refused(terraform, ['name = "x"', 'place = "moon"'], "no place 'moon'", 'place = "moon"')
    tmpfs = ['name = "x"', 'kind = "tmpfs"', 'retention = "keep"']
    await _refused(terraform, tmpfs, "nothing to keep", 'retention = "keep"')
    source = ['name = "x"', "populate {", 'place = "skeletons"', 'path = "gone"', "}"]
    await _refused(terraform, source, "there is no 'gone'", 'path = "gone"')
    source[3] = 'path = "../../etc"'
    await _refused(terraform, source, "'..'", 'path = "../../etc"')
    (tmp_path / "skeletons/link").symlink_to("/etc")
    source[3] = 'path = "link"'
    await _refused(terraform, source, "symbolic link", 'path = "link"')
    (tmp_path / "skeletons/bad.tar").write_bytes(b"no archive")
    source[3] = 'path = "bad.tar"'
    await _refused(terraform, source, "no archive", 'path = "bad.tar"')
    assert not volumes(settings)
    assert not [p for p in settings.directory.rglob("*") if p.name.startswith((".new", "vol-"))]


async def _refused(terraform: Any, lines: list[str], why: str, line: str) -> None:
    write(terraform, *lines)
    said = " ".join((await terraform("apply", "-auto-approve", "-no-color", code=1)).split())
    assert why in said.replace("│ ", ""), said
    assert line in said, said


async def test_a_name_known_at_apply_only_and_two_of_one_name(
    terraform: Any, settings: VolumeSettings
) -> None:
    write(
        terraform,
        'name = "home-${terraform_data.late.output}"',
        more='resource "terraform_data" "late" { input = "1" }\n',
    )
    await terraform("init")
    await terraform("apply", "-auto-approve")
    assert set(volumes(settings)) == {"home-1"}
    second = 'resource "kata_volume" "other" { name = "home-1" }\n'
    write(terraform, 'name = "home-1"', more=second)
    assert "of one name" in await terraform("plan", code=1)


async def test_what_a_killed_create_or_delete_left_is_collected(
    terraform: Any, settings: VolumeSettings, tmp_path: Path
) -> None:
    import fcntl  # noqa: PLC0415

    write(terraform, 'name = "home"')
    await terraform("init")
    await terraform("apply", "-auto-approve")
    volume = volumes(settings)["home"]
    root, other = volume.data.parent, tmp_path / "disk/.kled-volumes"
    other.mkdir()
    left = [
        root / ".new-vol-00000000000000aa",
        root / "vol-00000000000000bb",
        other / ".vol-00000000000000cc.removed",
    ]
    for path in left:
        (path / "deep").mkdir(parents=True)
    making = volume.lock.with_name("vol-00000000000000bb.lock")
    with making.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert len(collect_volumes(settings)) == 2
        assert left[1].exists(), "somebody makes it"
    assert collect_volumes(settings) == ["vol-00000000000000bb"]
    assert [path.name for path in root.iterdir()] == [volume.id]
    assert not list(other.iterdir())
    assert not making.exists()
    await terraform("plan", "-detailed-exitcode")


async def test_a_volume_that_a_task_writes_is_not_removed(
    terraform: Any, settings: VolumeSettings
) -> None:
    import fcntl  # noqa: PLC0415

    write(terraform, 'name = "home"')
    await terraform("init")
    await terraform("apply", "-auto-approve")
    volume = volumes(settings)["home"]
    with volume.lock.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write("c1")
        lock.flush()
        assert "in use by container c1" in await terraform("destroy", "-auto-approve", code=1)
    await terraform("destroy", "-auto-approve")
    assert not volume.data.exists()
