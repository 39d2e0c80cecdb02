"""Filling a volume from what strangers wrote: nothing is written or read elsewhere."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kled_provider.kata.paths.beneath import opened_beneath
from kled_provider.kata.volume.populate import Ownership, populate
from kled_provider.kata.volume.stored import remove_tree
from kled_provider.kata.volume.tree import TreeError, TreeLimits, parts_of

Member = tuple[str, bytes, str, bytes]  # name, type, link name, content
REG, SYM, LNK, DIR, FIFO = (
    tarfile.REGTYPE,
    tarfile.SYMTYPE,
    tarfile.LNKTYPE,
    tarfile.DIRTYPE,
    tarfile.FIFOTYPE,
)


def archive(path: Path, members: list[Member], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as made:  # type: ignore[call-overload]
        for name, kind, link, content in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.size = kind, link, len(content)
            info.mode, info.uid, info.gid = 0o4751, 1000, 1001
            made.addfile(info, io.BytesIO(content))
    return path


def fill(
    source: Path,
    target: Path,
    ownership: Ownership = Ownership(),  # noqa: B008 - frozen
    still_wanted: Callable[[], None] = lambda: None,
    limits: TreeLimits = TreeLimits(),  # noqa: B008 - frozen
) -> None:
    target.mkdir(exist_ok=True)
    fd = os.open(target, os.O_RDONLY)
    try:
        with opened_beneath(str(source), [str(source.parent)]) as opened:
            populate(fd, opened, ownership, still_wanted=still_wanted, limits=limits)
    finally:
        os.close(fd)


def shown(directory: Path) -> dict[str, str]:
    return {
        str(p.relative_to(directory)): (
            f"-> {p.readlink()}" if p.is_symlink() else "/" if p.is_dir() else p.read_text()
        )
        for p in sorted(directory.rglob("*"))
    }


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_an_archive_is_unpacked_with_links_and_permissions(tmp_path: Path, mode: str) -> None:
    members = [
        ("./", DIR, "", b""),
        ("bin", DIR, "", b""),
        ("bin/tool", REG, "", b"program"),
        ("tool", SYM, "bin/tool", b""),
        ("again", LNK, "bin/tool", b""),
        ("deep/er/file", REG, "", b"x"),
    ]
    fill(archive(tmp_path / "a.tar", members, mode), tmp_path / "out")
    assert shown(tmp_path / "out") == {
        "again": "program",
        "bin": "/",
        "bin/tool": "program",
        "deep": "/",
        "deep/er": "/",
        "deep/er/file": "x",
        "tool": "-> bin/tool",
    }
    found = (tmp_path / "out/bin/tool").stat()
    assert found.st_mode & 0o7777 == 0o751, "without set-user-id"
    assert found.st_nlink == 2


@pytest.mark.parametrize(
    ("members", "why"),
    [
        ([("../out2", REG, "", b"x")], "'..'"),
        ([("a/../../x", REG, "", b"x")], "'..'"),
        ([("/etc/x", REG, "", b"x")], "relative"),
        ([("a", SYM, "/etc", b""), ("a/passwd", REG, "", b"x")], "'a'"),
        ([("a", SYM, "..", b""), ("a/x/y", DIR, "", b"")], "'a'"),
        ([("a", LNK, "../../etc/passwd", b"")], "'..'"),
        ([("a", LNK, "gone", b"")], "nothing in the tree"),
        ([("d", SYM, "/etc", b""), ("a", LNK, "d/passwd", b"")], "'d'"),
        ([("pipe", FIFO, "", b"")], "pipe"),
        ([("a", DIR, "", b""), ("a", REG, "", b"x")], "directory already"),
    ],
)
def test_an_archive_that_leads_elsewhere_is_refused(
    tmp_path: Path, members: list[Member], why: str
) -> None:
    outside = {p: p.read_text() for p in (Path("/etc/passwd"),)}
    with pytest.raises(TreeError, match=why):
        fill(archive(tmp_path / "a.tar", members), tmp_path / "out")
    assert all(p.read_text() == text for p, text in outside.items())
    assert not (tmp_path / "out2").exists()
    assert not (tmp_path / "x").exists()


def test_a_link_is_replaced_and_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("mine")
    members = [("a", SYM, str(tmp_path / "victim"), b""), ("a", REG, "", b"new")]
    fill(archive(tmp_path / "a.tar", members), tmp_path / "out")
    assert (tmp_path / "victim").read_text() == "mine"
    assert shown(tmp_path / "out") == {"a": "new"}


@given(st.text(alphabet="./ab", max_size=12))
def test_whatever_a_name_is_its_parts_lead_down(name: str) -> None:
    try:
        parts = parts_of(name)
    except TreeError:
        return
    assert not {"", ".", ".."} & set(parts)
    assert os.path.normpath(name) == os.path.normpath("/".join(parts) or ".")


@given(st.binary(max_size=600))
def test_what_is_no_archive_is_refused(content: bytes) -> None:
    import tempfile  # noqa: PLC0415 - hypothesis takes no function-scoped fixtures

    with tempfile.TemporaryDirectory() as directory:
        source = Path(directory, "a.tar")
        source.write_bytes(b"\1" + content)
        with pytest.raises(TreeError, match="no archive"):
            fill(source, Path(directory, "out"))


def test_a_directory_is_copied_for_its_new_owner(tmp_path: Path) -> None:
    source = tmp_path / "skeleton"
    (source / "sub").mkdir(parents=True)
    (source / "sub" / "file").write_text("x")
    (source / "sub" / "file").chmod(0o640)
    (source / "sub").chmod(0o500)
    (source / "link").symlink_to("/etc/shadow")
    fill(source, tmp_path / "out", Ownership(uid=1000, gid=1001))
    assert shown(tmp_path / "out") == {"link": "-> /etc/shadow", "sub": "/", "sub/file": "x"}
    found = (tmp_path / "out/sub/file").stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o7777) == (1000, 1001, 0o640)
    assert (tmp_path / "out/sub").stat().st_mode & 0o7777 == 0o500
    os.mkfifo(source / "pipe")
    with pytest.raises(TreeError, match="'pipe' is a device, socket or pipe"):
        fill(source, tmp_path / "out2")


def test_too_much_is_refused(tmp_path: Path) -> None:
    limits = TreeLimits(entries=3, size_bytes=10)
    with pytest.raises(TreeError, match="more than"):
        fill(
            archive(tmp_path / "a.tar", [("a", REG, "", b"x" * 11)]),
            tmp_path / "out",
            limits=limits,
        )
    many = [(f"f{n}", REG, "", b"") for n in range(4)]
    with pytest.raises(TreeError, match="more than 3 entries"):
        fill(archive(tmp_path / "b.tar", many), tmp_path / "out2", limits=limits)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"uid": 2**33}, "belongs to 8589934592:0"),
        ({"gid": -7}, "belongs to 0:-7"),
        ({"name": "d/" * 1500 + "f"}, "nested more than 200 deep"),
    ],
)
def test_an_entry_that_no_file_system_has_is_refused(
    tmp_path: Path, given: dict[str, Any], said: str
) -> None:
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.PAX_FORMAT) as made:
        info = tarfile.TarInfo("f")
        info.mtime = 1e300  # taken as one that there is
        made.addfile(info)
        for name, value in given.items():
            setattr(info, name, value)
        made.addfile(info)
    with pytest.raises(TreeError, match=said):
        fill(tmp_path / "a.tar", tmp_path / "out")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["f"]


def test_a_volume_is_removed_however_deep_it_is(tmp_path: Path) -> None:
    doomed = tmp_path / "doomed"
    doomed.mkdir()
    fd = os.open(doomed, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=fd)
        below = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    try:
        remove_tree(doomed)
        assert not doomed.exists()
    finally:  # pytest could not remove it either
        subprocess.run(["rm", "-rf", doomed], check=True)


def test_no_race_makes_us_copy_what_lies_outside(tmp_path: Path) -> None:
    source, outside = tmp_path / "source", tmp_path / "outside"
    for directory, text in ((source / "sub", "ours"), (outside, "not ours")):
        directory.mkdir(parents=True)
        (directory / "file").write_text(text)
    (source / "zlink").symlink_to(outside)
    stop, started = threading.Event(), threading.Event()

    def swap() -> None:
        while not stop.is_set():
            for one, other in (
                ("sub", "aside"),
                ("zlink", "sub"),
                ("sub", "zlink"),
                ("aside", "sub"),
            ):
                (source / one).rename(source / other)
            started.set()

    swapper = threading.Thread(target=swap)
    swapper.start()
    started.wait(10)
    try:
        for number in range(150):
            out = tmp_path / f"out{number}"
            with suppress(OSError, TreeError):  # it was swapped between a look and the opening
                fill(source, out)
            assert "not ours" not in shown_below(out)
    finally:
        stop.set()
        swapper.join()


def shown_below(directory: Path) -> set[str]:
    return {p.read_text() for p in directory.rglob("*") if p.is_file() and not p.is_symlink()}
