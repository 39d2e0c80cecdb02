"""What is pinned stays what was checked, also when the path leads elsewhere later."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from kled_provider.kata.paths.beneath import opened_beneath
from kled_provider.kata.paths.pinned import pin, unpin

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mount(2) is root's")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "state" / "mounts" / "0"
    unpin(tmp_path / "state" / "mounts" / "0")


def mounted(below: Path) -> list[str]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line for line in lines if str(below) in line]


def test_a_pinned_directory_outlives_a_swap_of_its_path(tmp_path: Path, place: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").write_text("checked")
    with opened_beneath(str(source), [str(tmp_path)]) as opened:
        pin(opened, place)
    source.rename(tmp_path / "aside")
    source.symlink_to("/etc")
    assert (place / "file").read_text() == "checked"
    unpin(place)
    assert not place.exists()
    assert not mounted(tmp_path)
    assert (tmp_path / "aside" / "file").read_text() == "checked", "only the mount went"


def test_pinning_again_replaces_what_an_unclean_death_left(tmp_path: Path, place: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).write_text(name)
        with opened_beneath(f"{tmp_path}/{name}", [str(tmp_path)]) as opened:
            pin(opened, place)
        assert place.read_text() == name
    assert len(mounted(place)) == 1
    unpin(place)
    unpin(place)
    assert not mounted(tmp_path)
