"""A copy as cp(1) makes it, from end to end: two endpoints on pipes, real files."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kled_client.copy.plan import copies
from kled_sync.decide.modes import SyncSide
from kled_sync.endpoint.holding import HeldRoot
from kled_sync.endpoint.serving import Hold
from kled_sync.files.options import Options
from kled_sync.session.cp import CpResult, CpSync
from kled_sync.session.transfers.transfer import SyncMeter
from kled_wire.errors import KledError, NotFoundError, ProtocolError
from tests.kit.endpoints import content, two_peers


async def cp(
    place: Path, *paths: Path | str, recurse: bool = False, source: Hold | None = None
) -> list[CpResult]:
    """`kled cp`, in one process."""
    *sources, target = (os.fsencode(path) for path in paths)
    holds = {SyncSide.ALPHA: source} if source is not None else {}
    done = []
    for wish in copies(sources, target, recurse=recurse):
        async with two_peers(place, holds) as peers:
            both = peers[SyncSide.ALPHA], peers[SyncSide.BETA]
            both[0].name, both[1].name = map(os.fsdecode, (wish.source, wish.destination))
            done.append(await CpSync(*both, wish, SyncSide.ALPHA, SyncMeter()).copy())
    return done


async def failing(place: Path, *paths: Path | str, **options: Any) -> KledError:
    with pytest.raises(BaseExceptionGroup) as caught:
        await cp(place, *paths, **options)
    found = caught.value
    while isinstance(found, BaseExceptionGroup):
        (found,) = found.exceptions
    assert isinstance(found, KledError)
    return found


@pytest.fixture
def here(tmp_path: Path) -> Path:
    place = tmp_path / "here"
    (place / "sub").mkdir(parents=True)
    for name in ("a", "b", "c", "sub/d"):
        (place / name).write_text(name)
    (place / "link").symlink_to("a")
    return place


@pytest.fixture
def there(tmp_path: Path) -> Path:
    place = tmp_path / "there"
    place.mkdir()
    return place


async def test_names_of_a_directory_are_copied_together_and_no_others(
    tmp_path: Path, here: Path, there: Path
) -> None:
    (there / "mine").write_text("stays")
    there.chmod(0o710)
    before = there.stat().st_mode
    here.chmod(0o700)
    (done,) = await cp(tmp_path, here / "a", here / "sub/", f"{here}/b", there, recurse=True)
    assert (done.files, done.content_bytes, done.problems) == (3, 7, [])
    assert content(there).keys() == {"a", "b", "sub", "sub/d", "mine"}
    assert there.stat().st_mode == before
    # Nothing is left of what it staged, there or beside it, nor of what it remembered.
    assert {path.name for path in tmp_path.iterdir()} == {"here", "there"}


async def test_contents_are_compared_and_not_believed_by_the_time(
    tmp_path: Path, here: Path, there: Path
) -> None:
    (there / "a").write_text("z")
    for path in (here / "a", there / "a"):
        os.utime(path, (1, 1))
    (there / "b").write_text("b")
    (here / "b").chmod(0o640)
    (done,) = await cp(tmp_path, here / "a", here / "b", there)
    assert done.problems == []
    assert (there / "a").read_text() == "a"
    for name in "ab":
        now, then = (there / name).stat(), (here / name).stat()
        assert (now.st_mode, now.st_mtime_ns) == (then.st_mode, then.st_mtime_ns)


async def test_links_are_followed_but_not_those_that_are_copied(
    tmp_path: Path, here: Path, there: Path
) -> None:
    await cp(tmp_path, here / "link", there)
    assert not (there / "link").is_symlink()
    await cp(tmp_path, here / "link", there, recurse=True)
    assert (there / "link").readlink() == Path("a")
    # What is written to a link is written to where it leads.
    (there / "real").write_text("old")
    (there / "link").unlink()
    (there / "link").symlink_to("real")
    await cp(tmp_path, here / "a", there / "link")
    assert (there / "link").is_symlink()
    assert (there / "real").read_text() == "a"
    # Of several names those are left for a copy of their own.
    (there / "a").symlink_to("real")
    (done,) = await cp(tmp_path, here / "a", here / "b", here / "link", there)
    assert (done.files, done.apart) == (1, [b"a", b"link"])
    assert (there / "b").read_text() == "b"


async def test_a_directory_takes_no_other_s_place(tmp_path: Path, here: Path, there: Path) -> None:
    (there / "sub").write_text("a file")
    (there / "a").mkdir()
    (done,) = await cp(tmp_path, *(here / name for name in ("a", "b", "sub")), there, recurse=True)
    assert done.problems == [
        (SyncSide.BETA, os.fsencode(there / "a"), "a directory is in its place"),
        (SyncSide.BETA, os.fsencode(there / "sub"), "a file is in its place"),
    ]
    assert (done.files, (there / "sub").read_text()) == (1, "a file")


@pytest.mark.parametrize(
    ("sources", "target", "recurse", "words"),
    [
        (["none"], "", False, "none: no such file or directory"),
        (["a", "none"], "", False, "none: no such file or directory"),
        (["none/a"], "", False, "No such file or directory"),
        (["a"], "none/", False, "is not a directory"),
        (["a", "b"], "none", False, "is not a directory"),
        (["sub", "sub/."], "none", True, "is not a directory"),
        (["a"], "none/b", False, "No such file or directory"),
        (["sub"], "", False, "is a directory"),
        (["a", "sub"], "", False, "is a directory"),
    ],
)
async def test_what_makes_no_sense_is_refused_and_changes_nothing(
    tmp_path: Path, here: Path, there: Path, sources: list[str], target: str, recurse: bool,
    words: str,
) -> None:  # fmt: skip
    paths = [f"{here}/{source}" for source in sources]
    error = await failing(tmp_path, *paths, f"{there}/{target}", recurse=recurse)
    assert words in error.message
    assert list(there.iterdir()) == []


async def test_a_directory_gets_the_name_of_the_target_that_is_not_there(
    tmp_path: Path, here: Path, there: Path
) -> None:
    await cp(tmp_path, f"{here}/", there / "new", recurse=True)
    assert content(there / "new") == content(here)
    await cp(tmp_path, f"{here}/sub/", there / "new" / "sub", recurse=True)
    assert (there / "new" / "sub" / "sub" / "d").exists()
    await cp(tmp_path, f"{here}/sub/.", there, recurse=True)
    assert (there / "d").exists()


async def test_names_that_were_not_asked_for_are_not_taken(
    tmp_path: Path, here: Path, there: Path
) -> None:
    """As a workspace could do it that wants to write `.bashrc` on the laptop."""

    def lying(path: bytes, options: Options, env: Any) -> HeldRoot:
        return HeldRoot(path, replace(options, only=b""), env)

    error = await failing(tmp_path, here / "a", here / "b", there, source=lying)
    assert isinstance(error, ProtocolError)
    assert list(there.iterdir()) == []


async def test_an_older_far_end_is_said(tmp_path: Path, here: Path, there: Path) -> None:
    class Older(HeldRoot):
        def facts(self) -> dict[str, Any]:
            return {name: fact for name, fact in super().facts().items() if name != "names"}

    error = await failing(tmp_path, here / "a", there, source=Older)
    assert error.code == "copy_unknown"


async def test_a_folder_that_a_sync_has_is_copied_into(
    tmp_path: Path, here: Path, there: Path
) -> None:
    env = {"XDG_STATE_HOME": str(tmp_path / "state")}
    sync = HeldRoot(os.fsencode(there), Options(session="one"), env)
    try:
        await cp(tmp_path, here / "a", here / "b", there)
        await cp(tmp_path, f"{here}/.", there, recurse=True)
        assert content(there) == content(here)
        assert {path.name for path in tmp_path.iterdir()} >= {".kled-sync"}
    finally:
        sync.close()


async def test_what_a_killed_copy_left_is_removed_by_the_next(
    tmp_path: Path, here: Path, there: Path
) -> None:
    dead, fresh = (tmp_path / ".kled-sync" / name for name in ("once-dead", "once-fresh"))
    for path in (dead, fresh):
        path.mkdir(mode=0o700, parents=True)
        (path / "part-1").write_text("x")
    dead.parent.chmod(0o700)
    os.utime(dead, (time.time() - 3600,) * 2)
    await cp(tmp_path, here / "a", here / "b", there)
    assert not dead.exists()
    assert fresh.exists()


async def test_nobody_s_home_is_nowhere(tmp_path: Path, here: Path) -> None:
    error = await failing(tmp_path, here / "a", "~nobody-at-all/x")
    assert isinstance(error, NotFoundError)
    assert "~nobody-at-all: no such user there" in error.message
