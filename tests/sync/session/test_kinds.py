"""A copy of links, sockets and things that stand where another kind is to be."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kled_wire.errors import InputError
from tests.kit.endpoints import content, copy_once


async def test_a_link_is_copied_as_one_unless_what_is_in_it_is_meant(
    tmp_path: Path, source: Path
) -> None:
    (source / "folder").symlink_to("sub")
    (source / "dangling").symlink_to("nowhere")
    target = tmp_path / "target"
    target.mkdir()
    (target / "link").write_text("old")
    for name in ("folder", "link", "dangling"):
        await copy_once(tmp_path, source / name, target, contents=False)
        assert (target / name).readlink() == (source / name).readlink()
    await copy_once(tmp_path, source / "folder", target / "inner")
    assert content(target / "inner") == content(source / "sub")


async def test_a_link_at_the_destination_is_a_folder_or_is_replaced(
    tmp_path: Path, source: Path
) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    real.mkdir()
    link.symlink_to(real)
    await copy_once(tmp_path, source / "sub", link)
    await copy_once(tmp_path, source / "a.txt", link)
    assert content(source / "sub").items() <= content(real).items()
    assert content(real)["a.txt"] == (b"hello", False)
    file = tmp_path / "file"
    file.symlink_to(real / "a.txt")
    (source / "a.txt").write_text("another")
    await copy_once(tmp_path, source / "a.txt", file)
    assert (file.read_text(), (real / "a.txt").read_text()) == ("another", "hello")


async def test_what_is_no_folder_has_no_folder_s_contents(tmp_path: Path, source: Path) -> None:
    file = tmp_path / "file"
    file.write_text("stays")
    for target in (file, file / "below"):
        with pytest.RaisesGroup(
            pytest.RaisesExc(InputError, match="file is not a directory"), flatten_subgroups=True
        ):
            await copy_once(tmp_path, source, target)
    with pytest.RaisesGroup(
        pytest.RaisesExc(InputError, match="file is not a directory"), flatten_subgroups=True
    ):
        await copy_once(tmp_path, file / "x" / "..", tmp_path / "target")
    assert file.read_text() == "stays"
    assert not (tmp_path / "target").exists()


async def test_a_directory_in_the_way_that_is_not_empty_is_a_problem(
    tmp_path: Path, source: Path
) -> None:
    (tmp_path / "target" / "a.txt").mkdir(parents=True)
    (tmp_path / "target" / "a.txt" / "mine").touch()
    result, _ = await copy_once(tmp_path, source, tmp_path / "target")
    assert [(s.path, s.is_problem) for s in result.skipped] == [(b"a.txt", True)]


async def test_a_kind_that_changed_changes(tmp_path: Path, source: Path) -> None:
    target = tmp_path / "target"
    await copy_once(tmp_path, source, target)
    (source / "a.txt").unlink()
    (source / "a.txt").mkdir()
    (source / "a.txt" / "inside").write_text("1")
    (source / "link").unlink()
    (source / "link").write_text("no link")
    for path in (source / "sub" / "deep" / "run.sh", source / "sub" / "b"):
        path.unlink()
    (source / "sub" / "deep").rmdir()
    (source / "sub").rmdir()
    (source / "sub").write_text("a file now")
    result, _ = await copy_once(tmp_path, source, target, delete=True)
    assert result.done.failures == []
    assert content(target) == content(source)


async def test_sockets_and_fifos_are_left_out_and_named(tmp_path: Path, source: Path) -> None:
    os.mkfifo(source / "fifo")
    result, _ = await copy_once(tmp_path, source, tmp_path / "target")
    assert [(s.path, s.reason) for s in result.skipped] == [(b"fifo", "a FIFO is not copied")]
    assert not (tmp_path / "target" / "fifo").exists()


async def test_nothing_is_written_through_a_link_out_of_the_root(
    tmp_path: Path, source: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    target = tmp_path / "target"
    target.mkdir()
    (target / "sub").symlink_to(outside)
    await copy_once(tmp_path, source, target)
    assert list(outside.iterdir()) == []
    assert content(target) == content(source)
