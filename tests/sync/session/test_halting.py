"""A continuous sync that halts and asks, or does not begin, between two real folders."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import trio

from kled_sync.decide.modes import SyncSide
from kled_sync.decide.reconcile import PathChange
from kled_sync.session.agreed.agreement import Agreement
from kled_sync.session.halting import Asks, DeletionCheck, HaltedError
from kled_sync.session.roots import KnownRoots
from kled_sync.tree.entry import make_directory, make_file
from kled_wire.errors import ConflictError, UnavailableError
from tests.kit.endpoints import content, kept_same
from tests.kit.small_disk import mounted


async def test_an_emptied_side_halts_and_deletes_nothing(
    tmp_path: Path, alpha: Path, beta: Path
) -> None:
    async with kept_same(tmp_path, alpha, beta) as sync:
        await sync.flush()
    for path in (alpha / "a", alpha / "sub" / "b"):
        path.unlink()
    (alpha / "sub").rmdir()
    with pytest.RaisesGroup(
        pytest.RaisesExc(HaltedError, match="alpha side is empty now"), flatten_subgroups=True
    ):
        async with kept_same(tmp_path, alpha, beta):
            await trio.sleep_forever()
    assert (beta / "a").read_text() == "1"
    async with kept_same(tmp_path, alpha, beta, accept=Asks.ROOT) as sync:
        await sync.flush()
    assert content(beta) == {}


async def test_what_was_accepted_does_not_halt_before_it_is_done(
    tmp_path: Path, alpha: Path, beta: Path
) -> None:
    """So many deletions go on beside the looks, which find the emptied side again."""
    for number in range(1500):
        (alpha / "sub" / str(number)).touch()
    async with kept_same(tmp_path, alpha, beta) as sync:
        await sync.flush()
    shutil.rmtree(alpha)
    alpha.mkdir()
    async with kept_same(tmp_path, alpha, beta, accept=Asks.ROOT) as sync:
        await sync.flush()
        assert content(beta) == {}
        (beta / "new").touch()
        await sync.flush()
        (beta / "new").unlink()
        await sync.flush()
    assert content(alpha) == {}


async def test_many_deletions_halt(tmp_path: Path, alpha: Path, beta: Path) -> None:
    for number in range(150):
        (alpha / "sub" / str(number)).touch()
    async with kept_same(tmp_path, alpha, beta) as sync:
        await sync.flush()
    for number in range(120):
        (beta / "sub" / str(number)).unlink()
    with pytest.RaisesGroup(
        pytest.RaisesExc(HaltedError, match="120 of 15. files would be deleted"),
        flatten_subgroups=True,
    ):
        async with kept_same(tmp_path, alpha, beta):
            await trio.sleep_forever()
    assert len(content(alpha)) == 153


async def test_a_deletion_that_takes_long_halts(tmp_path: Path, alpha: Path, beta: Path) -> None:
    """No look finds much of it."""
    for number in range(400):
        (alpha / "sub" / str(number)).touch()
    with pytest.RaisesGroup(
        pytest.RaisesExc(HaltedError, match="30 of 40. files would be deleted .* after 90 a mom"),
        flatten_subgroups=True,
    ):
        async with kept_same(tmp_path, alpha, beta) as sync:
            await sync.flush()
            for first in range(0, 400, 30):
                for number in range(first, first + 30):
                    (beta / "sub" / str(number)).unlink()
                await sync.flush()
    assert len(content(alpha)) == 313


async def test_what_was_accepted_is_not_asked_about_again() -> None:
    """A look while it is being deleted saw more than the next one."""
    agreement = Agreement(None)
    file = make_file(0, 1, 1, bytes(32))
    agreement.tree.root = make_directory(0)
    for number in range(300):
        agreement.tree.put(b"%d" % number, file)
    check = DeletionCheck(agreement, {})
    new, gone = (PathChange(SyncSide.BETA, b"n", *e) for e in ((file, None), (None, file)))
    assert check.check([new], Asks.DELETIONS, is_busy=True)
    assert check.check([new], None, is_busy=True)
    for number in range(200):
        agreement.tree.remove(b"%d" % number)
    assert check.check([gone], None, is_busy=True)
    assert check.check([gone], None, is_busy=False)
    assert check.check([gone], None, is_busy=False)


async def test_what_comes_back_under_other_names_at_once_is_no_deletion(
    tmp_path: Path, alpha: Path, beta: Path
) -> None:
    """As of `git checkout`, which deletes everything before it writes."""
    for number in range(200):
        (alpha / "sub" / str(number)).touch()
    async with kept_same(tmp_path, alpha, beta) as sync:
        await sync.flush()
        for number in range(200):
            (alpha / "sub" / str(number)).unlink()
        with trio.fail_after(20):
            while len(sync.sides[SyncSide.ALPHA].tree.children(b"sub")) > 1:
                await trio.sleep(0.005)
        (alpha / "new").mkdir()
        for number in range(200):
            (alpha / "new" / str(number)).write_text(str(number))
        await sync.flush()
        assert content(beta) == content(alpha)


async def test_what_comes_and_goes_is_no_deletion(tmp_path: Path, alpha: Path, beta: Path) -> None:
    async with kept_same(tmp_path, alpha, beta) as sync:
        for _ in range(5):
            for number in range(60):
                (alpha / "sub" / str(number)).touch()
            await sync.flush()
            for number in range(60):
                (alpha / "sub" / str(number)).unlink()
            await sync.flush()
    assert content(alpha) == content(beta)


async def test_a_root_that_came_to_another_filesystem_halts(
    tmp_path: Path, alpha: Path, beta: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beta.mkdir()
    async with kept_same(tmp_path, alpha, beta) as sync:
        await sync.flush()
    agreed = KnownRoots(tmp_path / "session").known
    path = tmp_path / "session" / "filesystems"
    path.write_text("".join(f"{s.value} {p.filesystem + 1}\n" for s, p in agreed.items()))
    with pytest.RaisesGroup(HaltedError, flatten_subgroups=True, allow_unwrapped=True) as caught:
        async with kept_same(tmp_path, alpha, beta):
            pass
    assert "is in another filesystem now" in repr(caught.value)
    async with kept_same(tmp_path, alpha, beta, accept=Asks.FILESYSTEM) as sync:
        await sync.flush()
    assert KnownRoots(tmp_path / "session").known == agreed


async def test_who_accepts_another_filesystem_does_not_accept_that_it_is_empty(
    tmp_path: Path, alpha: Path, beta: Path
) -> None:
    """As where nothing is mounted, or a new disk."""
    async with kept_same(tmp_path, alpha, beta) as sync:
        await sync.flush()
    known = KnownRoots(tmp_path / "session").known
    path = tmp_path / "session" / "filesystems"
    path.write_text("".join(f"{s.value} {p.filesystem + 1}\n" for s, p in known.items()))
    before = content(alpha)
    shutil.rmtree(beta)
    beta.mkdir()
    with pytest.RaisesGroup(
        pytest.RaisesExc(HaltedError, match="beta side is empty now"), flatten_subgroups=True
    ):
        async with kept_same(tmp_path, alpha, beta, accept=Asks.FILESYSTEM):
            await trio.sleep_forever()
    assert content(alpha) == before


def _another_folder_halts() -> pytest.RaisesGroup[HaltedError]:
    return pytest.RaisesGroup(
        pytest.RaisesExc(HaltedError, match="another folder is on the alpha side now, with 1 of 3"),
        flatten_subgroups=True,
    )


async def test_another_folder_in_the_place_of_a_root_halts_until_it_is_accepted(
    tmp_path: Path, alpha: Path, beta: Path
) -> None:
    async with kept_same(tmp_path, alpha, beta) as sync:
        await sync.flush()
    before = content(beta)
    shutil.rmtree(alpha)
    alpha.mkdir()  # often with the inode number of the one that went
    (alpha / "a").write_text("another's")
    for _ in range(2):
        with _another_folder_halts():
            async with kept_same(tmp_path, alpha, beta):
                await trio.sleep_forever()
        assert content(beta) == before
    async with kept_same(tmp_path, alpha, beta, accept=Asks.ROOT) as sync:
        await sync.flush()
    async with kept_same(tmp_path, alpha, beta) as sync:
        await sync.flush()
    assert content(beta) == {"a": (b"another's", False)} == content(alpha)


async def test_a_root_that_is_replaced_while_it_is_watched_halts(
    tmp_path: Path, alpha: Path, beta: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "a").write_text("another's")
    with _another_folder_halts():
        async with kept_same(tmp_path, alpha, beta) as sync:
            await sync.flush()
            before = content(beta)
            alpha.rename(tmp_path / "old")
            other.rename(alpha)
            await trio.sleep_forever()
    assert content(beta) == before


async def test_a_root_that_was_made_anew_goes_on(tmp_path: Path, alpha: Path, beta: Path) -> None:
    again = tmp_path / "again"
    async with kept_same(tmp_path, alpha, beta) as sync:
        await sync.flush()
        shutil.copytree(alpha, again)
        (again / "sub" / "b").unlink()  # two of three names are there
        (again / "new").write_text("new")
        alpha.rename(tmp_path / "old")
        again.rename(alpha)
        with trio.fail_after(20):
            while not (beta / "new").exists():
                await trio.sleep(0.005)
        await sync.flush()
        assert content(beta) == content(alpha)
        (alpha / "a").write_text("saved there")
        await sync.flush()
        assert (beta / "a").read_text() == "saved there"


@pytest.mark.parametrize("is_there", [True, False])
async def test_a_directory_above_that_was_moved_takes_no_sync_along(
    tmp_path: Path, alpha: Path, is_there: bool
) -> None:
    """What is saved at the folder's path is what counts, not where its descriptor leads."""
    beta = tmp_path / "above" / "beta"
    with pytest.RaisesGroup(
        pytest.RaisesExc(UnavailableError, match="above .* was moved"), flatten_subgroups=True
    ):
        async with kept_same(tmp_path, alpha, beta) as sync:
            await sync.flush()
            beta.parent.rename(tmp_path / "moved")
            if is_there:
                beta.mkdir(parents=True)
            (alpha / "a").write_text("saved")
            await sync.flush()
    assert (tmp_path / "moved" / "beta" / "a").read_text() == "1"


async def test_what_is_mounted_over_a_root_is_not_synced(
    tmp_path: Path, alpha: Path, beta: Path
) -> None:
    async with kept_same(tmp_path, alpha, beta) as sync:
        await sync.flush()
        with mounted(alpha):
            (alpha / "elsewhere").write_text("x")
            with pytest.raises(ConflictError, match="another filesystem is mounted"):
                await sync.sides[SyncSide.ALPHA].scan(everywhere=True)
    assert content(beta) == content(alpha)
