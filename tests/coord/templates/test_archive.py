"""Uploaded archives, by hand and at random."""

from __future__ import annotations

import contextlib
import gzip
import io
import tarfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kled_coord.templates.archive import FILES_MAX, UNPACKED_MAX_BYTES, check_archive
from kled_wire.errors import InputError

MAIN = {"main.tf": b"resource {}"}


def refused(upload: bytes) -> str:
    with pytest.raises(InputError) as caught:
        check_archive(upload)
    assert caught.value.code == "template_invalid"
    return caught.value.message


def test_plain_and_gzip_give_the_same_tar(make_tar) -> None:
    tar = make_tar({"./main.tf": b"x", "files/init.sh": b"y"})
    assert check_archive(gzip.compress(tar)) == check_archive(tar)
    assert check_archive(tar).files == ("main.tf", "files/init.sh")


@pytest.mark.parametrize("name", ["../main.tf", "/main.tf", "a/../../main.tf", "a\\b.tf"])
def test_a_path_that_leads_out_is_refused(make_tar, name) -> None:
    assert "leads out" in refused(make_tar({name: b"x"}))


def test_a_link_is_refused() -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        info = tarfile.TarInfo("main.tf")
        info.type = tarfile.SYMTYPE
        info.linkname = "/etc/passwd"
        archive.addfile(info)
    assert "neither a file nor" in refused(out.getvalue())


def test_no_source_at_the_top_is_refused(make_tar) -> None:
    assert "no .tf file" in refused(make_tar({"sub/main.tf": b"x"}))


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("main.tf", "# 1e99999\nmax = 1e99999999", 2),
        ("main.tf", 'a = "1e99999999"\nb = [\n  -1.5E+000123456]', 3),
        ("modules/x/main.tf", "min = 10e-99999", 1),
        ("x.auto.tfvars", "size = 1e100000", 1),
        ("x.tf.json", '{"variable":\n{"a": {"default": 1e99999}}}', 2),
    ],
)
def test_a_number_with_which_terraform_is_busy_for_minutes_is_refused_at_its_line(
    make_tar, name, text, line
) -> None:
    said = refused(make_tar({**MAIN, name: text.encode()}))
    assert said.startswith(f"{name}:{line}: the number ")
    assert "out of range" in said


def test_what_only_looks_like_such_a_number_is_taken(make_tar) -> None:
    text = (
        'a1e99999 = 1e9999\nb = "1e99999" # 1e99999\nc = <<E\n1e99999\nE\nd = x.y1e99999\n²e99999'
    )
    check_archive(make_tar({"main.tf": text.encode(), "notes.txt": b"1e99999"}))
    check_archive(make_tar({"main.tf": b"1" * 100_000}))


def test_too_many_files_are_refused(make_tar) -> None:
    assert "more than" in refused(make_tar({f"{n}.tf": b"" for n in range(FILES_MAX + 1)}))


def test_a_file_that_is_there_twice_is_refused(make_tar) -> None:
    assert "twice" in refused(make_tar({"main.tf": b"a", "./main.tf": b"b"}))


def test_a_small_upload_that_unpacks_to_much_is_refused() -> None:
    assert "unpacks" in refused(gzip.compress(bytes(UNPACKED_MAX_BYTES + 1), 1))


@given(st.binary(max_size=2000))
def test_noise_is_refused_or_accepted_never_worse(noise) -> None:
    with contextlib.suppress(InputError):
        check_archive(noise)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 1500), to=st.integers(0, 255))
def test_a_damaged_archive_is_refused_or_accepted_never_worse(make_tar, at, to) -> None:
    tar = bytearray(make_tar(MAIN))
    tar[at % len(tar)] = to
    with contextlib.suppress(InputError):
        check_archive(bytes(tar))
