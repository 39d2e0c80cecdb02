"""Templates as archives: what is unpacked, and what is refused before it does harm."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kled_coord.terraform.output.errors import RunDirectoryError, TemplateInvalidError
from kled_coord.terraform.source.archive import ArchiveLimits, unpack_template


def tar_of(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for member, data in members:
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return out.getvalue()


def member(name: str, **fields: Any) -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(found, field, value)
    return found


def test_files_and_folders_are_unpacked(tmp_path: Path) -> None:
    archive = tar_of(
        (member("./main.tf"), b"locals {}\n"),
        (member("modules", type=tarfile.DIRTYPE, mode=0o755), b""),
        (member("modules/a.sh", mode=0o4777), b"#!"),
    )
    for packed in (archive, gzip.compress(archive)):
        directory = tmp_path / str(len(packed))
        directory.mkdir()
        unpack_template(packed, directory)
        assert (directory / "main.tf").read_text() == "locals {}\n"
        assert (directory / "modules/a.sh").stat().st_mode & 0o7777 == 0o755


def test_a_full_disk_is_not_the_archives_fault(tmp_path: Path) -> None:
    (tmp_path / "main.tf").symlink_to("/dev/full")
    with pytest.raises(RunDirectoryError, match="No space left on device"):
        unpack_template(tar_of((member("main.tf"), b"locals {}\n")), tmp_path)


def test_what_terraform_left_behind_stays_out(tmp_path: Path) -> None:
    names = ("main.tf", ".terraform.lock.hcl", "a/b.tf", "./.terraform/x", "terraform.tfstate")
    link = member(".terraform/providers/x", type=tarfile.SYMTYPE, linkname="/usr/lib/x")
    unpack_template(tar_of(*((member(name), b"") for name in names), (link, b"")), tmp_path)
    found = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()}
    assert found == set(names[:3])


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (member("../main.tf"), "is outside the template"),
        (member("a/../../main.tf"), "is outside the template"),
        (member("/etc/main.tf"), "is outside the template"),
        (member("a", type=tarfile.SYMTYPE, linkname="/etc/passwd"), "link or a device"),
        (member("a", type=tarfile.LNKTYPE, linkname="main.tf"), "link or a device"),
        (member("a", type=tarfile.CHRTYPE), "link or a device"),
        (member("a", type=tarfile.FIFOTYPE), "link or a device"),
        (member("x" * 600), "too long"),
    ],
)
def test_what_may_do_harm_is_refused(tmp_path: Path, bad: tarfile.TarInfo, reason: str) -> None:
    work = tmp_path / "work"
    work.mkdir()
    with pytest.raises(TemplateInvalidError, match=reason):
        unpack_template(tar_of((bad, b"")), work)
    assert list(tmp_path.rglob("*")) == [work]


def test_a_huge_extended_header_is_not_read_whole(tmp_path: Path) -> None:
    """A few kilobytes that claim, and unpack to, a header of 64 MB."""
    head = member("x", type=tarfile.XHDTYPE, size=64_000_000).tobuf(tarfile.USTAR_FORMAT)
    bomb = gzip.compress(head + bytes(64_000_000), compresslevel=1)
    tracemalloc.start()
    with pytest.raises(TemplateInvalidError, match="more than 1 MiB"):
        unpack_template(bomb, tmp_path, ArchiveLimits(total_bytes=1 << 20, members=10))
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 8_000_000


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_every_usual_compression_is_read(tmp_path: Path, pack: Any) -> None:
    unpack_template(pack(tar_of((member("main.tf"), b"x"))), tmp_path)
    assert (tmp_path / "main.tf").read_bytes() == b"x"


def test_limits_hold_before_anything_is_read(tmp_path: Path) -> None:
    bomb = gzip.compress(tar_of((member("big"), bytes(2_000_000))))
    assert len(bomb) < 10_000
    with pytest.raises(TemplateInvalidError, match="more than 1 MiB"):
        unpack_template(bomb, tmp_path, ArchiveLimits(total_bytes=1 << 20))
    many = tar_of(*((member(str(n)), b"") for n in range(4)))
    with pytest.raises(TemplateInvalidError, match="more than 3 files"):
        unpack_template(many, tmp_path, ArchiveLimits(members=3))


@pytest.mark.parametrize("archive", [b"", b"PK\3\4", b"\x1f\x8b\x08" + bytes(9), bytes(511)])
def test_what_is_no_archive_is_refused(tmp_path: Path, archive: bytes) -> None:
    with pytest.raises(TemplateInvalidError, match="damaged"):
        unpack_template(archive, tmp_path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.integers(0, 20_000), st.integers(0, 255), st.booleans())
def test_a_damaged_archive_is_refused_or_harmless(
    tmp_path: Path, position: int, value: int, cut: bool
) -> None:
    whole = tar_of((member("main.tf"), b"locals {}\n" * 100), (member("b.tf"), b"x" * 600))
    for archive in (whole, gzip.compress(whole)):
        damaged = bytearray(archive[: position % len(archive)] if cut else archive)
        if damaged:
            damaged[position % len(damaged)] = value
        try:
            unpack_template(bytes(damaged), tmp_path)
        except TemplateInvalidError:
            continue
