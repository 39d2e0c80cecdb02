"""Archives that are made to hurt, in the process that opens them."""

from __future__ import annotations

import io
import tarfile

import pytest
import trio

from kled_coord.templates.archive import UNPACKED_MAX_BYTES, check_archive
from kled_coord.templates.opening import open_archive
from kled_wire.errors import InputError


def header(kind: bytes, size: int, name: str = "x") -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    return info.tobuf(tarfile.USTAR_FORMAT)


def extended(kind: bytes, content: bytes) -> bytes:
    return header(kind, len(content)) + content + bytes(-len(content) % 512)


async def refused(upload: bytes, **limits: float) -> str:
    with pytest.raises(InputError) as caught:
        await open_archive(upload, **limits)
    assert caught.value.code == "template_invalid"
    return caught.value.message


async def test_what_is_right_comes_back_with_content_and_mode_alone(make_tar) -> None:
    info = tarfile.TarInfo("./run.sh")
    info.mode, info.size, info.uname, info.pax_headers = 0o4711, 2, "root", {"comment": "x" * 99}
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as made:
        made.addfile(info, io.BytesIO(b"hi"))
        for name in ("main.tf", "é" * 90 + "/x"):
            made.addfile(tarfile.TarInfo(name))
    archive = await open_archive(out.getvalue())
    assert archive == check_archive(out.getvalue())
    with tarfile.open(fileobj=io.BytesIO(archive.tar)) as kept:
        members = kept.getmembers()
        assert [member.name for member in members] == list(archive.files)
        assert (members[0].name, members[0].mode, members[0].uname) == ("run.sh", 0o755, "")
        content = kept.extractfile("run.sh")
        assert content is not None
        assert content.read() == b"hi"
    assert b"comment" not in archive.tar


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
async def test_headers_within_headers_are_refused(kind: bytes) -> None:
    await refused(extended(kind, b"12 path=abc\n") * 10_000)


async def test_a_sparse_file_of_any_size_takes_no_memory() -> None:
    sparse = bytearray(header(tarfile.GNUTYPE_SPARSE, 0, "main.tf"))
    sparse[483:495] = b"77777777777\0"
    sparse[148:156] = b"%06o\0 " % (sum(sparse[:148]) + 256 + sum(sparse[156:]))
    assert "neither a file nor" in await refused(bytes(sparse) + bytes(1024))


async def test_a_size_that_nobody_has_is_refused() -> None:
    await refused(header(tarfile.REGTYPE, UNPACKED_MAX_BYTES + 1, "main.tf") + bytes(1024))


@pytest.mark.slow
async def test_numbers_that_cost_the_square_of_their_length_stop_nobody() -> None:
    """CVE-2024-6232: where `tarfile` has it, the deadline ends the process."""
    for content in (b"1" * 250_000, b"9" * 250_000 + b" GNU.sparse.size=" + b"1" * 250_000 + b"\n"):
        with trio.fail_after(20):
            upload = extended(tarfile.XHDTYPE, content) + header(tarfile.REGTYPE, 0)
            await refused(upload, deadline_s=1.5)


async def test_a_process_that_does_not_end_is_killed(make_tar) -> None:
    with trio.fail_after(20):
        assert "too long" in await refused(make_tar({"main.tf": b"x"}), deadline_s=0.0)
