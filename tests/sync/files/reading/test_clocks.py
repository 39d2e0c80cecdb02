"""Changes that the times of files do not show: several in one tick of their clock, or set back."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from blake3 import blake3

from kled_sync.endpoint.holding import HeldRoot
from kled_sync.files.options import Options
from kled_sync.tree.entry import TreeEntry

_TRIES = 20


@pytest.fixture(scope="module")
def seconds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A filesystem whose times are whole seconds: ext4 with small inodes, as ext3 had them."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    image, mounted = tmp_path_factory.mktemp("disk") / "image", tmp_path_factory.mktemp("mounted")
    with image.open("wb") as file:
        file.truncate(4 * 1024 * 1024)
    subprocess.run(["mkfs.ext4", "-q", "-I", "128", image], check=True, capture_output=True)
    if subprocess.run(["mount", "-o", "loop", image, mounted], check=False).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        yield mounted
    finally:
        subprocess.run(["umount", "-l", mounted], check=True)


def hold(root: Path, state: Path) -> HeldRoot:
    return HeldRoot(
        os.fsencode(root), Options(durable="none"), {"XDG_STATE_HOME": str(state / "state")}
    )


def seen(held: HeldRoot, path: bytes) -> TreeEntry | None:
    """As a session finds it that was told of a change in the root."""
    list(held.scan(1, everywhere=False, directories=(b"",)))
    found = held.memory.get(path)
    if found is not None and found.entry.is_file and not found.entry.is_hashed:
        list(held.hash(path))
        found = held.memory.get(path)
    return found.entry if found is not None else None


def hashed(text: bytes) -> Callable[[TreeEntry | None], bool]:
    return lambda entry: entry is not None and entry.tail == blake3(text).digest()


def again(path: Path) -> None:
    path.write_text("after!")


def one_more(path: Path) -> None:
    (path.parent / "new").write_text("after!")


def other_link(path: Path) -> None:
    (path.parent / "link").unlink()
    (path.parent / "link").symlink_to("b")


def other_rules(path: Path) -> None:
    (path.parent / ".gitignore").write_text("x\n")


CHANGES = [
    (again, b"f", hashed(b"after!")),
    (one_more, b"new", hashed(b"after!")),
    (other_link, b"link", lambda entry: entry is not None and entry.tail == b"b"),
    (other_rules, b"f", hashed(b"before")),
]


@pytest.mark.parametrize(
    ("change", "path", "is_right"), CHANGES, ids=lambda v: getattr(v, "__name__", "")
)
def test_two_changes_in_one_second_are_two(
    seconds: Path,
    tmp_path: Path,
    change: Callable[[Path], None],
    path: bytes,
    is_right: Callable[[TreeEntry | None], bool],
) -> None:
    root = seconds / change.__name__
    root.mkdir()
    held = hold(root, tmp_path)
    file = root / "f"
    for _ in range(_TRIES):
        for name in root.iterdir():
            name.unlink()
        file.write_text("before")
        (root / "link").symlink_to("a")
        (root / ".gitignore").write_text("f\n")
        began = file.stat().st_ctime
        if change is not other_rules:
            (root / ".gitignore").unlink()
        seen(held, b"f")
        change(file)
        found = seen(held, path)
        assert is_right(found), found
        if began + 0.1 < time.time() < began + 1:
            break  # all of it was in one second, and not in the first tick of it
    held.close()


def test_a_directory_whose_time_was_set_back_has_what_came_meanwhile(tmp_path: Path) -> None:
    """tar(1) does that, and where archives are made reproducible it is always the same time."""
    root = tmp_path / "root"
    (root / "d").mkdir(parents=True)
    held = hold(root, tmp_path)
    for name in ("one", "two"):
        (root / "d" / name).touch()
        os.utime(root / "d", ns=(1, 1_600_000_000_000_000_000))
        list(held.scan(1, everywhere=True, directories=()))
        assert held.memory.get(b"d/" + name.encode()) is not None, name
    held.close()


def test_a_file_whose_time_was_set_back_is_read_again(tmp_path: Path) -> None:
    """Where the kernel has no finer times for files than its clock ticks (before Linux 6.13)."""
    root = tmp_path / "root"
    root.mkdir()
    held = hold(root, tmp_path)
    for text in (b"one", b"two"):
        (root / "f").write_bytes(text)
        os.utime(root / "f", ns=(1, 1_600_000_000_000_000_000))
        assert hashed(text)(seen(held, b"f"))
        found = held.memory.get(b"f")
        assert found is not None
        assert not found.is_sure
    held.close()
